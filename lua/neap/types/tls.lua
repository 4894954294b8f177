---@meta neap.tls

---TLS, an option of the streams of `neap.net`.
---@class neap.tls
---@field library string the version of OpenSSL
local tls = {}

---@class tls.options
---@field ca? string who is trusted: a file, a folder, or PEM text; a client: as the system does
---@field cert? string the own certificate and those above it: a path, or PEM text
---@field key? string its key, if it is not in the same file
---@field verify? boolean false: the other side is not verified; for tests
---@field hostname? string to verify and to send, if it is not the one dialled
---@field alpn? string[] protocols
---@field min_version? "1.2"|"1.3"
---@field session? table a client's: what `tls.session()` gave
---@field sni? table<string, tls.options> a server's: certificates by name
---@field handshake_timeout? number seconds; 10
---@field server? boolean of `starttls`: whether this side is the server

---@class tls.state
---@field version string such as "TLSv1.3"
---@field cipher string
---@field alpn? string the protocol agreed on
---@field resumed boolean
---@field peer? tls.peer nil: it has shown no certificate

---@class tls.peer
---@field subject string
---@field issuer string
---@field names string[]
---@field not_before integer as of `os.time()`
---@field not_after integer

---Holds a session, for the option `session`: the next connection to that host resumes it.
---@return table session
function tls.session() end

return tls
