-- Doubly linked lists, for the modules of the library: what is in one can leave it from the
-- middle. A node is a table of its owner's, in one list at a time: `list`, `prev` and `next`
-- are this module's; they are false where there is none. Once the node and the list are made
-- nothing here allocates, so it neither fails in the middle nor runs a finalizer.

local list = {}

---@class list
---@field first table|false
---@field last table|false
---@field n integer

---@return list
function list.new() return { n = 0, first = false, last = false } end

---Makes a node of a table.
---@param node table
---@return table node
function list.node(node)
    node.list, node.prev, node.next = false, false, false
    return node
end

---Puts a node that is in no list at the end.
function list.append(l, node)
    node.list, node.prev, node.next = l, l.last, false
    if l.last then l.last.next = node else l.first = node end
    l.last = node
    l.n = l.n + 1
end

---Puts a node that is in no list at the front.
function list.prepend(l, node)
    node.list, node.prev, node.next = l, false, l.first
    if l.first then l.first.prev = node else l.last = node end
    l.first = node
    l.n = l.n + 1
end

---Takes a node out of the list that it is in, if any.
function list.remove(node)
    local l, prev, next = node.list, node.prev, node.next
    if not l then return end
    if prev then prev.next = next else l.first = next end
    if next then next.prev = prev else l.last = prev end
    node.list, node.prev, node.next = false, false, false
    l.n = l.n - 1
end

return list
