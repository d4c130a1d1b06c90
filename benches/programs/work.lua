-- A program that grows: records in tables, strings joined and split, a graph, closures.
local state = 1
local function random(n)
  state = (state * 69069 + 1) % 4294967296
  return (state >> 8) % n
end

local records, by_name = {}, {}
for k = 1, 120000 do
  local tags = {}
  for t = 1, random(5) do
    tags[t] = "t" .. random(31)
  end
  local record = { id = k, name = "name-" .. random(9973), tags = tags, text = ("x"):rep(random(120)) }
  records[k] = record
  local group = by_name[record.name] or {}
  group[#group + 1] = record
  by_name[record.name] = group
end

local parts = {}
for k, record in ipairs(records) do
  parts[k] = record.name .. ";" .. table.concat(record.tags, "+") .. ";" .. record.text
end
local page = table.concat(parts, "\n")
local words, count = {}, 0
for word in page:gmatch("[^;\n]+") do
  words[word] = (words[word] or 0) + 1
  count = count + 1
end
local graph, seen, stack, reached = {}, {}, { 1 }, 0
for k = 1, 40000 do
  graph[k] = {}
end
for _ = 1, 120000 do
  local from = graph[1 + random(40000)]
  from[#from + 1] = 1 + random(40000)
end
while #stack > 0 do
  local node = table.remove(stack)
  if not seen[node] then
    seen[node] = true
    reached = reached + 1
    for _, next in ipairs(graph[node]) do
      stack[#stack + 1] = next
    end
  end
end
local closures, sum = {}, 0
for k = 1, 100000 do
  closures[k] = function()
    return k % 7
  end
end
for _, closure in ipairs(closures) do
  sum = sum + closure()
end
print(#page, count, reached, sum)
