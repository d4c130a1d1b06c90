# Threads, fibers, JSON, Marshal, big integers, and many collections: deterministic output.
require "digest"
require "json"
require "set"

def digest(text) = Digest::SHA256.hexdigest(text)[0, 16]

random = Random.new(7)
people = Array.new(6000) do |i|
  { "id" => i, "name" => Array.new(random.rand(3..40)) { random.rand(97..122).chr }.join,
    "scores" => Array.new(random.rand(0..12)) { random.rand(100_000) } }
end
text = JSON.pretty_generate(people)
raise "json round trip" unless JSON.parse(text) == people
packed = Marshal.dump(people)
raise "marshal round trip" unless Marshal.load(packed) == people
puts "json #{text.bytesize} #{digest(text)} marshal #{packed.bytesize}"

words = text.scan(/[a-z]{3,}/)
groups = words.group_by { |w| w[0, 2] }.transform_values { |v| v.map(&:size).sum }
puts "scan #{words.size} #{digest(groups.sort.inspect)}"
puts "gsub #{digest(text.gsub(/(\d+)/) { ($1.to_i * 3).to_s(16) })}"

results = Array.new(8) do |k|
  Thread.new do
    local = Random.new(k)
    table = {}
    20_000.times { |i| table[local.rand(5000)] = "v" * (i % 100) }
    table.sort.map { |key, value| key * value.size }.sum
  end
end.map(&:value)
puts "threads #{results.inspect}"

queue = SizedQueue.new(32)
consumer = Thread.new do
  seen = []
  while (item = queue.pop)
    seen << item.size
  end
  seen.sum
end
3000.times { |i| queue << "x" * (i * 37 % 5000) }
queue << nil
puts "queue #{consumer.value}"

fibers = Array.new(300) { |i| Fiber.new { 10.times { |step| Fiber.yield("#{i}:#{step}" * 10) }; nil } }
puts "fibers #{fibers.sum { |f| 10.times.sum { f.resume.size } }}"

factorial = (1..1500).inject(:*)
puts "big #{digest(factorial.to_s)} #{digest((factorial**3).to_s(16))}"

survivors = []
40.times do |round|
  batch = Array.new(5000) { |i| [round, i, "s" * (i % 60)] }
  survivors.concat(batch.values_at(*0.step(4999, 500)))
  GC.start if (round % 8).zero?
end
GC.compact if GC.respond_to?(:compact)
puts "survivors #{survivors.size} #{digest(survivors.inspect)}"

set = Set.new
buffer = +""
60_000.times { |i| set << (i * i % 9973); buffer << (i % 256).chr(Encoding::BINARY) * (i % 17) }
puts "set #{set.size} buffer #{buffer.bytesize} #{digest(buffer)}"

reader, writer = IO.pipe
pid = fork do
  reader.close
  writer.write(digest(Array.new(3000) { |i| "child#{i}" * 3 }.join))
  writer.close
  exit!(5)
end
writer.close
line = reader.read
_, status = Process.wait2(pid)
puts "child #{line} #{status.exitstatus}"
