#!/bin/sh
# Makes inter.otf of Inter 3.19 (https://github.com/rsms/inter/releases): Latin, Greek, superscripts, signs; no features.
# Needs fonttools: pip install fonttools
set -eu
pyftsubset "$1" --no-hinting --desubroutinize --layout-features='' --drop-tables+=GSUB,GPOS,GDEF \
    --name-IDs='0,1,2,3,4,5,6,13,14' --output-file="$(dirname "$0")/inter.otf" \
    --unicodes="U+0020-007E,U+00A0-017F,U+0391-03C9,U+2010-2026,U+2016,U+2070-207F,U+2080-2089,U+2190-2193,U+2202,U+2206,U+2211,U+2212,U+221A,U+221E,U+2248,U+2260,U+2264,U+2265"
