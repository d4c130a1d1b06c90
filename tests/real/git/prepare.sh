#!/usr/bin/env bash
# A snapshot of this project's repository, so that both runs read the same commits. Where the
# sources are not a repository (an unpacked archive), one commit per file is made from them.
set -euo pipefail
cp "$REAL_DIR/gitconfig" "$HOME/.gitconfig"
export GIT_CONFIG_NOSYSTEM=1
if git -C "$ROOT" rev-parse --verify --quiet HEAD >/dev/null; then
    git clone --quiet --mirror "$ROOT" "$INPUT/origin.git"
    exit
fi
echo "note: $ROOT is not a git repository; using one made from its files" >&2
git init --quiet "$INPUT/work"
cd "$INPUT/work"
while IFS= read -r file; do
    cp --parents "$file" "$INPUT/work" 2>/dev/null || (cd "$ROOT" && cp --parents "$file" "$INPUT/work")
    git add -- "$file"
    GIT_AUTHOR_DATE="2024-01-01T00:00:00Z" GIT_COMMITTER_DATE="2024-01-01T00:00:00Z" \
        git commit --quiet -m "Add $file"
done < <(cd "$ROOT" && find src xtask tests docs -type f 2>/dev/null | LC_ALL=C sort | head -200)
git clone --quiet --mirror "$INPUT/work" "$INPUT/origin.git"
