-- Doubly linked lists, for the modules of the library: what is in one can leave it from the
-- middle. A node is a table of its owner's, in one list at a time: `list`, `prev` and `next`
-- are this module's. Nothing here allocates once the node and the list are made.

local list = {}

---@class list
---@field first table?
---@field last table?
---@field n integer

---@return list
function list.new() return { n = 0 } end

---Puts a node that is in no list at the end.
function list.append(l, node)
    node.list, node.prev, node.next = l, l.last, nil
    if l.last then l.last.next = node else l.first = node end
    l.last = node
    l.n = l.n + 1
end

---Puts a node that is in no list at the front.
function list.prepend(l, node)
    node.list, node.prev, node.next = l, nil, l.first
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
    node.list, node.prev, node.next = nil, nil, nil
    l.n = l.n - 1
end

return list
