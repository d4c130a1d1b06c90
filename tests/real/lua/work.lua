-- Tables, strings, coroutines, closures and collections: deterministic output.
local state = 42
local function random(n)
  state = (state * 1103515245 + 12345) % 2147483648
  return (state // 65536) % n
end

local function digest(text)
  local h = 0xcbf29ce484222325
  for i = 1, #text do
    h = (h ~ text:byte(i)) * 1099511628211
  end
  return string.format("%016x", h)
end

local function tree(depth)
  if depth == 0 then
    return { text = ("x"):rep(random(60)) }
  end
  return { left = tree(depth - 1), right = tree(depth - 1), n = random(1000) }
end
local function weigh(t)
  if t.text then
    return #t.text
  end
  return weigh(t.left) + weigh(t.right) + t.n
end
for _ = 1, 5 do
  print("tree", weigh(tree(14)))
  collectgarbage()
end

local parts, words = {}, {}
for i = 1, 60000 do
  local w = {}
  for k = 1, 2 + random(8) do
    w[k] = string.char(97 + random(26))
  end
  parts[i] = table.concat(w)
  words[parts[i]] = (words[parts[i]] or 0) + 1
end
local text = table.concat(parts, " ")
print("text", #text, digest(text))
local swapped = text:gsub("(%w+) (%w+)", "%2 %1"):upper():reverse()
print("gsub", digest(swapped))
local keys = {}
for k in pairs(words) do
  keys[#keys + 1] = k
end
table.sort(keys, function(a, b)
  if words[a] ~= words[b] then
    return words[a] > words[b]
  end
  return a < b
end)
print("words", #keys, keys[1], keys[2], keys[3], digest(table.concat(keys, ",")))

local routines, total = {}, 0
for i = 1, 3000 do
  routines[i] = coroutine.wrap(function()
    local mine = {}
    for step = 1, 20 do
      mine[step] = i * step
      coroutine.yield(#mine + mine[step])
    end
  end)
end
for _ = 1, 20 do
  for i = 1, #routines do
    total = total + routines[i]()
  end
end
print("coroutines", total)

local big, kept = {}, 0
for i = 1, 400000 do
  big[i] = i % 3 == 0 and { i } or i
end
for i = 1, #big, 2 do
  big[i] = nil
end
collectgarbage()
for _, v in pairs(big) do
  kept = kept + (type(v) == "table" and v[1] or v)
end
print("big", kept)

local s = ""
for i = 1, 3000 do
  s = s .. i
end
print("growing", #s, digest(s))
local weak = setmetatable({}, { __mode = "v" })
for i = 1, 20000 do
  weak[i] = { i }
end
collectgarbage()
collectgarbage()
print("weak", next(weak) == nil)
