#!/usr/bin/env bash
# Perl: hashes, regexes, string growth, closures, sorting, and forked children.
# needs: perl=perl
set -euo pipefail
export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
perl "$REAL_DIR/work.pl"
