-- A certificate authority of the specs' own, made by the openssl command as it runs.

local child = require "spec.support.child"

local authority = {}
authority.__index = authority

local CONFIG = [[
[ca]
default_ca = own
[own]
dir = .
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = optional
]]

local function run(dir, command)
    local status, _, complained = child.shell(("cd %s && %s"):format(dir, command))
    if status ~= 0 then error(complained, 2) end
end

local function write(path, text)
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
end

local function read(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
end

-- An authority that nobody else trusts; `remove` it. Its certificate: .cert, .pem (the text).
function authority.new(name)
    local dir = os.tmpname()
    os.remove(dir)
    run("/tmp", "mkdir " .. dir)
    local self = setmetatable({ dir = dir, count = 0, cert = dir .. "/ca.pem" }, authority)
    write(dir .. "/config", CONFIG)
    write(dir .. "/index", "")
    run(dir, ([[openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj '/CN=%s' -keyout ca.key -out ca.pem -days 30 -addext keyUsage=keyCertSign,cRLSign]])
        :format(name or "neap test CA"))
    self.pem = read(self.cert)
    self.key = dir .. "/ca.key"
    return self
end

-- Issues a certificate: { cert = path, key = path, names = "DNS:a,IP:b" ... }.
--   names       its subjectAltName, false: none; "DNS:localhost,IP:127.0.0.1,IP:::1"
--   cn          its common name
--   from, to    days from now; -1, 30
--   usage       its extendedKeyUsage
--   ca          it may issue others: a new authority
--   basic       its basicConstraints, if they are to be others
--   also        a list of more extensions, as openssl's configuration has them
--   md          the digest of its signature; "sha256"
--   newkey      the kind of its key, in openssl's words
function authority:issue(t)
    t = t or {}
    self.count = self.count + 1
    local base = "cert" .. self.count
    local names = t.names == nil and "DNS:localhost,IP:127.0.0.1,IP:::1" or t.names
    local extensions = { "basicConstraints = " ..
        (t.basic or "critical,CA:" .. (t.ca and "TRUE" or "FALSE")),
        table.unpack(t.also or {}) }
    if names then extensions[#extensions + 1] = "subjectAltName = " .. names end
    if t.usage then extensions[#extensions + 1] = "extendedKeyUsage = " .. t.usage end
    write(("%s/%s.ext"):format(self.dir, base), table.concat(extensions, "\n") .. "\n")
    local function day(n) return os.date("!%Y%m%d%H%M%SZ", os.time() + n * 86400) end
    run(self.dir, ([[
        openssl req -new -newkey %s -nodes -subj '/CN=%s' -keyout %s.key -out %s.csr &&
        openssl ca -batch -notext -config config -cert %s -keyfile %s -in %s.csr -out %s.pem \
            -extfile %s.ext -startdate %s -enddate %s -md %s]]):format(
        t.newkey or "ec -pkeyopt ec_paramgen_curve:prime256v1", t.cn or "neap test", base, base,
        self.cert, self.key, base, base, base, day(t.from or -1), day(t.to or 30),
        t.md or "sha256"))
    local made = { cert = ("%s/%s.pem"):format(self.dir, base),
        key = ("%s/%s.key"):format(self.dir, base) }
    made.pem, made.key_pem = read(made.cert), read(made.key)
    if t.ca then
        setmetatable(made, authority)
        made.dir, made.count = self.dir, self.count * 100
    end
    return made
end

-- Where a file of that name can be: in the authority's folder.
function authority:path(name) return self.dir .. "/" .. name end

function authority:file(name, text)
    write(self:path(name), text)
    return self:path(name)
end

function authority:remove() os.execute("rm -rf " .. self.dir) end
authority.__close = authority.remove

-- ---- a pair of ends for specs that are about something else ----

local identity -- of the servers, as PEM text

local function identify()
    if not identity then
        local ca <close> = authority.new()
        identity = ca:issue()
        identity.ca = ca.pem
    end
    return identity
end

-- Options of a server's TLS; the first call makes the certificates.
function authority.server_tls()
    local own = identify()
    return { cert = own.pem, key = own.key_pem }
end

-- Those of a client that trusts it.
function authority.client_tls()
    return { ca = identify().ca, hostname = "localhost" }
end

return authority
