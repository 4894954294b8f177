// An HTTP/2 server for http_client_tls_spec: node http2.js CERT KEY MAX_STREAMS; prints its port.
const http2 = require('http2'), fs = require('fs')
const [cert, key, streams] = process.argv.slice(2)
const server = http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key),
    allowHTTP1: true, settings: { maxConcurrentStreams: Number(streams) } })
server.on('request', (request, answer) => {
    switch (request.url) {
    case '/big': return answer.end(Buffer.alloc(3000000, 'x'))
    case '/hang': return
    case '/half': return answer.write('abc')
    case '/reset': return request.stream.close(2)
    case '/away': return request.stream.session.destroy()
    }
    let bytes = 0
    request.on('data', data => { bytes += data.length })
    request.on('end', () => {
        answer.setHeader('X-A', ['1', '2'])
        answer.setHeader('X-Client', String(request.socket.remotePort))
        setTimeout(() => answer.end([request.httpVersion, request.method, bytes].join(' ')), 20)
    })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
