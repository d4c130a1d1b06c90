# A program that grows: 20,000 records made, grouped, sorted, turned into text and read back.
def random: (. * 69069 + 1) % 4294967296;

[limit(20000; 1 | recurse(random))]
| map({id: ., name: "name-\(. % 997)", tags: [range(. % 5) | "t\(.)"], text: ("x" * (1 + . % 60))})
| (group_by(.name) | map({name: .[0].name, n: length, longest: (map(.text | length) | max)})) as $groups
| (tojson | fromjson | map(.tags | length) | add) as $tags
| (map("\(.name);\(.text)") | join("\n") | length) as $page
| [length, ($groups | length), ($groups | sort_by(-.n, .name) | .[0].name), $tags, $page]
