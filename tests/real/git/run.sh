#!/usr/bin/env bash
# Clone, log, blame, diff, repack and fsck of this project's own repository, then new commits.
# needs: git=git sha256sum=coreutils
set -euo pipefail
cp "$REAL_DIR/gitconfig" "$HOME/.gitconfig"
export GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE="2024-02-02T02:02:02Z" GIT_COMMITTER_DATE="2024-02-02T02:02:02Z"

git clone --quiet "file://$INPUT/origin.git" clone
cd clone
git log --stat --pretty=fuller >"$OUT/log"
git log -p -M -C --all --full-history | sha256sum
git rev-list --objects --all | sha256sum
git ls-files -s >"$OUT/files"
largest=$(git ls-tree -r -l HEAD | sort -k4,4nr -k5 | awk 'NR == 1 { print $5 }')
git blame -w -M "$largest" | sha256sum

# One thread, so that the deltas chosen do not depend on how threads are scheduled.
git -c pack.threads=1 repack -q -a -d -f --depth=50 --window=20
git verify-pack -v .git/objects/pack/*.idx | sha256sum
# Several threads: the packs may differ, what they hold may not.
git -c pack.threads=2 repack -q -a -d -F
git fsck --full --strict 2>&1
git count-objects -v | grep -E '^(in-pack|packs|garbage)'

for step in $(seq 40); do
    for file in a b c; do seq "$step" 7 $((step * 200)) >"$file.txt"; done
    git add .
    git commit --quiet -m "Step $step"
done
git checkout --quiet -b side HEAD~20
for step in $(seq 10); do
    seq "$step" >"side$step.txt"
    git add .
    git commit --quiet -m "Side $step"
done
git merge --quiet --no-edit main
git rebase --quiet --force-rebase HEAD~5 2>&1
git gc --quiet
git fsck --full 2>&1
git rev-parse HEAD 'HEAD^{tree}'
git archive HEAD | sha256sum
git grep -c seq -- '*.sh' || true
git bundle create --quiet "$PWD/../all.bundle" --all
git bundle verify --quiet ../all.bundle
