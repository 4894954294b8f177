---@meta neap.net

---Streams and networks. What the world does wrong comes back as `nil, err, code`: a sentence, and
---a symbol such as "ECONNREFUSED".
---@class neap.net
local net = {}

---@class net.connect.options
---@field timeout? number seconds for all of it; 30
---@field bind? string|{ host: string, port?: integer } the own address; of a unix socket a path
---@field nodelay? boolean no waiting for more to send; true
---@field keepalive? boolean|number true, or after how many silent seconds the peer is asked
---@field tls? boolean|tls.options
---@field max_line? integer bytes of the longest line that is read; 65536
---@field family? 4|6 of a name's addresses; both by default
---@field servers? string[] addresses of name servers

---Connects by TCP. A name is resolved without blocking others; IPv6 and IPv4 are raced.
---@param host string
---@param port integer
---@param opts? net.connect.options
---@return stream? stream
---@return string? err
---@return string? code
function net.connect(host, port, opts) end

---Connects to a unix socket.
---@param path string `@name` is one in the abstract namespace
---@param opts? net.connect.options
---@return stream? stream
---@return string? err
---@return string? code
function net.connect_unix(path, opts) end

---@class net.listen.options
---@field fd? integer a socket that listens already: it is taken over
---@field backlog? integer clients that may wait in the kernel
---@field reuseport? boolean other processes may listen on the same port
---@field max_connections? integer handlers that run at a time; more clients wait
---@field max_line? integer bytes of the longest line that a client's stream reads; 65536
---@field mode? string|integer of a unix socket's file: octal digits, or a number
---@field tls? tls.options

---Listens for TCP connections.
---@param host? string an address in figures, or "localhost"; "*", the default: all
---@param port integer 0: any that is free
---@param opts? net.listen.options
---@return listener? listener
---@return string? err
---@return string? code
---@overload fun(opts: net.listen.options): listener?, string?, string?
function net.listen(host, port, opts) end

---Listens on a unix socket. One whose owner is dead is replaced; it goes when the listener closes.
---@param path string `@name` is one in the abstract namespace
---@param opts? net.listen.options
---@return listener? listener
---@return string? err
---@return string? code
function net.listen_unix(path, opts) end

---A UDP socket.
---@param host? string an own address, in figures; any by default
---@param port? integer 0: any that is free
---@param opts? { reuseaddr: boolean, reuseport: boolean }
---@return udp? socket
---@return string? err
---@return string? code
function net.udp(host, port, opts) end

---Two connected streams.
---@return stream? a
---@return stream|string b or the error
---@return string? code
function net.pair() end

---@class net.resolve.options
---@field family? 4|6 both by default
---@field servers? string[] addresses of name servers
---@field timeout? number seconds in all; 5

---The addresses of a name; the hosts file and the search list count.
---@param name string
---@param opts? net.resolve.options
---@return string[]? addresses
---@return string? err
---@return string? code "ENOTFOUND" if there are none
function net.resolve(name, opts) end

net.relay = require("neap.relay").relay
net.connect_protocol = require("neap.protocols").connect

-- ---- streams ----

---A connection, or a pipe: bytes both ways. Reads and writes wait; several readers, or writers,
---are served in order.
---@class stream
---@field fd integer its descriptor, below 0 once it is closed
local stream = {}

---Reads by the formats of `io.read`: "l" (a line, the default), "L" (with its end), "a" (all), a
---count (that many bytes, fewer only at the end).
---@param ... string|integer
---@return string? ... one for each format; nil at the end; nil, err, code of a failure
function stream:read(...) end

---Reads what has come.
---@param max? integer bytes
---@return string? data nil at the end
---@return string? err
---@return string? code
function stream:read_some(max) end

---Reads up to and including a delimiter.
---@param delimiter string
---@param max? integer bytes to look through; more is "EMSGSIZE"
---@return string? data
---@return string? err
---@return string? code
function stream:read_until(delimiter, max) end

---Puts text back: it is read next.
---@param text string
---@return stream self
function stream:unread(text) end

---For `for line in stream:lines() do`. Ends at a clean end or our own close; a failure raises.
---@param format? string|integer as for `read`
---@return fun(): string?
function stream:lines(format) end

---Writes; waits while more than 64 KiB have not gone out.
---@param ... string|number|table texts, or nested lists of them
---@return stream? self
---@return string? err
---@return string? code
function stream:write(...) end

---Waits until the kernel has all that was written.
---@return stream? self
---@return string? err
---@return string? code
function stream:flush() end

---Ends our direction, after what was written. The peer can still be read.
---@return true? ok
---@return string? err
---@return string? code
function stream:shutdown() end

---Closes it. Who waits on it gets `nil, "closed"`; what was written still goes out. Twice is
---harmless.
function stream:close() end

---It is not closed when the handler returns that it was made for (`listener:serve`,
---`req:upgrade`).
---@return stream self
function stream:detach() end

---Bounds each operation from now on: `nil, "timeout", "ETIMEDOUT"`.
---@param seconds? number nil: no bound
---@return stream self
function stream:settimeout(seconds) end

---The address of the other side. Of a unix socket its path.
---@return string? host
---@return integer? port
function stream:peername() end

---The own address. Of a unix socket its path.
---@return string? host
---@return integer? port
function stream:sockname() end

---Sets an option: "nodelay", "keepalive", "linger", "rcvbuf", "sndbuf", "ttl", "max_line". A name
---that does not exist raises.
---@param name string
---@param value boolean|number
---@return stream? self
---@return string? err
---@return string? code
function stream:setoption(name, value) end

---Makes a plain stream an encrypted one, and waits for the handshake. An accepted stream is the
---server.
---@param opts? tls.options
---@return stream? self
---@return string? err
---@return string? code
function stream:starttls(opts) end

---What is known of its TLS, after the handshake; nil: it has none.
---@return tls.state? state
---@return string? err
---@return string? code
function stream:tls() end

-- ---- listeners ----

---Where a client is: `tostring` reads `host:port`.
---@class peer
---@field host? string
---@field port? integer
---@field path? string of a unix socket

---A socket that listens.
---@class listener
---@field host? string
---@field port? integer
---@field path? string of a unix socket
---@field fd integer
local listener = {}

---Waits for a client.
---@return stream? stream
---@return peer|string peer or the error
---@return string? code
function listener:accept() end

---Serves until it is closed: each connection is a tasklet, whose end closes the stream. An error
---in one is reported and ends that one only.
---@param handler fun(stream: stream, peer: peer)
function listener:serve(handler) end

---Serves in the background.
---@param handler fun(stream: stream, peer: peer)
---@return tasklet t the one that does
function listener:start(handler) end

---Serves in the callback style: the reactor calls the methods of a protocol.
---@param factory fun(peer: peer): protocol
---@return tasklet t the one that accepts
function listener:protocol(factory) end

---Accepts no more, and waits until the handlers have ended.
---@param grace? number seconds after which those that still run are ended; none by default
---@return integer n how many those were
function listener:shutdown(grace) end

---Closes it; connections that are open go on. Twice is harmless.
function listener:close() end

---Changes certificates and keys for the clients that come from now on.
---@param opts tls.options
---@return listener? self
---@return string? err
---@return string? code
function listener:set_tls(opts) end

-- ---- UDP ----

---A UDP socket.
---@class udp
---@field port? integer
---@field fd integer
local udp = {}

---Sends a datagram.
---@param data string
---@param host? string an address, in figures; nil: the one it is connected to
---@param port? integer
---@return true? ok
---@return string? err
---@return string? code
function udp:send(data, host, port) end

---Waits for a datagram.
---@param timeout? number seconds
---@param max? integer bytes; a longer one is cut
---@return string? data
---@return string? host of the sender; or the error
---@return integer|string|nil port or the code
---@return integer? size its whole length, if it was cut
function udp:receive(timeout, max) end

---Speaks to one peer only from now on.
---@param host? string nil: to anybody again
---@param port? integer
---@return udp? self
---@return string? err
---@return string? code
function udp:connect(host, port) end

---Enters a multicast group.
---@param address string
---@param interface? string
---@return true? ok
---@return string? err
---@return string? code
function udp:join_group(address, interface) end

---Leaves a multicast group.
---@param address string
---@param interface? string
---@return true? ok
---@return string? err
---@return string? code
function udp:leave_group(address, interface) end

---Sets an option: "multicast_ttl", "multicast_loop", "broadcast", "rcvbuf", "sndbuf", "ttl".
---@param name string
---@param value boolean|number
---@return udp? self
---@return string? err
---@return string? code
function udp:setoption(name, value) end

---@return string? host
---@return integer? port
function udp:sockname() end

---The peer that it is connected to.
---@return string? host
---@return integer? port
function udp:peername() end

---Closes it. Twice is harmless.
function udp:close() end

-- ---- the callback style ----

---What a protocol writes with.
---@class transport
---@field buffered integer bytes that the peer has not taken yet
---@field closing boolean whether its end has been asked for, or has come
local transport = {}

---Writes; never waits. What the kernel does not take is kept, and `drained` is called when it is
---out.
---@param ... string|number|table
function transport:write(...) end

---Ends the connection when all is written.
function transport:lose_connection() end

---Ends the connection now, by a reset.
function transport:abort() end

---The address of the other side. Of a unix socket its path.
---@return string? host
---@return integer? port
function transport:peername() end

---The own address. Of a unix socket its path.
---@return string? host
---@return integer? port
function transport:sockname() end

---Sets an option of the connection, as that of a stream.
---@param name string
---@param value boolean|number
---@return any ok
---@return string? err
---@return string? code
function transport:setoption(name, value) end

---No data comes until `resume`.
function transport:pause() end

---Data comes again.
function transport:resume() end

return net
