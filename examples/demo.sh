#!/usr/bin/env bash
# A world rendered, checked, learnt, measured and seen, with the commands that a user would type.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"
out=demo
step() { printf '\n\033[1m$ videre %s\033[0m\n' "$*"; videre "$@"; }

rm -rf "$out"
mkdir -p "$out"
step data blocks "$out/blocks" --count 1600 --val 40
step data blocks "$out/unseen" --count 200 --val 0 --solids 4-8 --seed 1
step data check "$out/blocks" --out "$out/check.html"
# a net that learns from nothing in minutes: half the width, three levels, small heads, small batches
step train mask-rcnn "$out/blocks" --out "$out/run" --backbone resnet18 -o short_side=128 -o long_side=128 \
    -o multiplier=0.5 -o "strides=[4,8,16]" -o "anchor_sizes=[12,24,48,96]" -o width=48 -o hidden=128 \
    -o mask_layers=2 -o mask_resolution=7 -o "rpn_pre_nms=[500,300]" -o "rpn_post_nms=[300,100]" -o roi_batch=64 \
    -o pictures=6000 -o batch=4 -o lr=0.004 -o evaluate_every=2
step evaluate "$out/run/last.safetensors" "$out/unseen" --out "$out/evaluation"
step predict "$out/unseen/train" --model "$out/run/last.safetensors" --out "$out/predictions" --quiet
cp "$out/evaluation/report.html" "$out/report.html"
printf '\nOpen %s/report.html; the drawn pictures are in %s/predictions.\n' "$out" "$out"
