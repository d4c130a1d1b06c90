# Word counts, co-occurrence, substitution and sorting: deterministic output.
function digest(text,    i, h) {
    h = 5381
    for (i = 1; i <= length(text); i++) h = (h * 33 + index(ALPHABET, substr(text, i, 1))) % 4294967291
    return h
}

BEGIN { ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz ,:=-" }

{
    for (i = 1; i <= NF; i++) {
        count[$i]++
        if (i > 1) pair[$(i - 1), $i]++
        split($i, half, "x")
        sum[half[1]] += half[2]
    }
    line = gensub(/w([0-9]+)x([0-9]+)/, "\\2:\\1", "g")
    if (NR % 50 == 0) kept[NR] = line
    longest = length(line) > length(longest) ? line : longest
    NF = NF > 2 ? 2 : NF
    short = short substr($0, 1, 3)
    if (length(short) > 20000) { folded = digest(short substr(folded, 1, 5)); short = "" }
}

END {
    n = asorti(count, name, "@val_num_desc")
    print "words", n, "pairs", length(pair)
    top = count[name[1]]
    print "top", top
    m = asorti(sum, key)
    for (i = 1; i <= m; i += 400) print key[i], sum[key[i]]
    for (row in pair) if (pair[row] > most) most = pair[row]
    print "most", most
    for (row in pair) delete pair[row]
    k = asorti(kept, order, "@ind_num_asc")
    for (i = 1; i <= k; i++) all = all kept[order[i]] ","
    print "kept", k, length(all), digest(substr(all, 1, 30000))
    print "longest", longest
    print "folded", folded
}
