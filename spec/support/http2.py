# An HTTP/2 server for http_client_tls_spec: http2.py CERT KEY MAX_STREAMS; prints its port.
# Each connection has a thread, which alone speaks on it.
import socket, ssl, sys, threading, time
from h2 import config, connection, events, settings

cert, key, streams = sys.argv[1:]


class Connection:
    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer
        self.h2 = connection.H2Connection(config.H2Configuration(False, 'utf-8'))
        self.requests = {}  # stream: method, path, bytes that have come
        self.due = []       # answers to give: time, stream
        self.bodies = {}    # stream: what is still to be sent

    def answer(self, stream, fields, body, ends=True):
        self.h2.send_headers(stream, [(':status', '200')] + fields)
        self.bodies[stream] = [body, ends]

    def request(self, stream):
        method, path, _ = self.requests[stream]
        if path == '/big':
            self.answer(stream, [], b'x' * 3000000)
        elif path == '/half':
            self.answer(stream, [], b'abc', False)
        elif path == '/reset':
            self.h2.reset_stream(stream, 2)
        elif path == '/away':
            raise ConnectionError
        elif path != '/hang':
            self.due.append((time.monotonic() + 0.02, stream))

    def greet(self, stream):
        method, _, count = self.requests.pop(stream)
        fields = [('x-a', '1'), ('x-a', '2'), ('x-client', str(self.peer[1]))]
        text = b'' if method == 'HEAD' else b'2.0 %s %d' % (method.encode(), count)
        self.answer(stream, fields, text)

    def forget(self, stream):
        self.requests.pop(stream, None)
        self.bodies.pop(stream, None)
        self.due = [(when, other) for when, other in self.due if other != stream]

    def take(self, event):
        if isinstance(event, events.RequestReceived):
            fields = dict(event.headers)
            self.requests[event.stream_id] = [fields[':method'], fields[':path'], 0]
        elif isinstance(event, events.DataReceived):
            self.requests[event.stream_id][2] += len(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            self.request(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self.forget(event.stream_id)

    # Sends of each body what the client's windows allow.
    def send(self):
        for stream, (body, ends) in list(self.bodies.items()):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            while body and room > 0:
                self.h2.send_data(stream, body[:room])
                body = body[room:]
                room = min(self.h2.local_flow_control_window(stream),
                           self.h2.max_outbound_frame_size)
            self.bodies[stream][0] = body
            if not body:
                del self.bodies[stream]
                if ends:
                    self.h2.end_stream(stream)
        self.sock.sendall(self.h2.data_to_send())

    def turn(self):
        self.sock.settimeout(max(0.001, self.due[0][0] - time.monotonic()) if self.due else None)
        try:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError
            for event in self.h2.receive_data(data):
                self.take(event)
        except TimeoutError:
            pass
        while self.due and self.due[0][0] <= time.monotonic():
            self.greet(self.due.pop(0)[1])
        self.send()

    def serve(self):
        self.h2.initiate_connection()
        self.h2.update_settings({settings.SettingCodes.MAX_CONCURRENT_STREAMS: int(streams)})
        self.sock.sendall(self.h2.data_to_send())
        try:
            while True:
                self.turn()
        except OSError:
            self.sock.close()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.set_alpn_protocols(['h2'])
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)


def connect(sock, peer):
    try:
        sock = context.wrap_socket(sock, server_side=True)
    except OSError:
        return
    Connection(sock, peer).serve()


while True:
    threading.Thread(target=connect, args=listener.accept(), daemon=True).start()
