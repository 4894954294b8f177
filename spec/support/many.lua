-- How much a spec does of what it does many times.

local lfs = require "lfs"

local stress = lfs.symlinkattributes("/proc/self/exe", "target"):find("/stress/", 1, true)

---How many a spec is to make, in which there must be many: a tenth in the stress build, which
---collects so often that time grows with the square.
---@param n integer
---@return integer
return function(n) return stress and n // 10 or n end
