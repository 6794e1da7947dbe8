#!/usr/bin/env bash
# Checks and measures on a GPU what no CPU can show, within eight minutes:
#   bash experiments/gpu_check/run.sh OUT
# Every step has a timeout of its own, and none ends the others. OUT/gpu_check.json holds all that was found,
# OUT/*.log what was said. DEVICE=cpu runs the same without a GPU, for the script's own sake, and the training code
# on a pretended one.
set -uo pipefail
out=$(mkdir -p "${1:?usage: run.sh OUT}" && cd "$1" && pwd)
cd "$(dirname "$0")/../.."
export DEVICE=${DEVICE:-cuda} PYTHONPATH="$PWD/src:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}" QTT_CACHE="$out/cache"
python=${PYTHON:-python3}
check="$python experiments/gpu_check/checks.py"

step() {  # step NAME SECONDS COMMAND…: its exit status and seconds are part of what was found
    local name=$1 limit=$2 begin=$SECONDS status=0
    shift 2
    echo "$name (at most $limit s)"
    timeout --kill-after 5 "$limit" "$@" >"$out/$name.log" 2>&1 || status=$?
    echo "{\"status\": $status, \"seconds\": $((SECONDS - begin))}" >"$out/$name.status.json"
    if [ "$status" != 0 ]; then tail -n 3 "$out/$name.log"; fi
}

step machine 30 $check machine "$out"
step process 90 $check process "$out"
step tests 120 "$python" -m pytest -m gpu -rs -p no:cacheprovider tests/finetune/test_gpu.py
if [ "$DEVICE" = cpu ]; then  # 150 tests, 20 minutes at most
    step pretended 1200 "$python" -m pytest -n auto --dist worksteal -m "slow or not slow" -p \
        no:cacheprovider tests/test_fake_cuda.py tests/finetune/test_cuda.py
fi
step repeat 100 $check repeat "$out"
step throughput 120 $check throughput "$out"
step utilisation 100 $check utilisation "$out"
step quickstart 100 "$python" -m qtt.run +experiment=quickstart "trainer=$DEVICE" budget.seconds=${QUICKSTART:-60} \
    "run_dir=$out/quickstart"
if [ -d "${WEIGHTS:-}" ] && [ -d "${IMAGES:-}" ]; then
    step search 170 "$python" -m qtt.run +experiment=image_folder model_hub=folder "weights_dir=$WEIGHTS" \
        "dataset.path=$IMAGES" "trainer=$DEVICE" budget.seconds=${SEARCH:-120} "run_dir=$out/search"
fi
step leftovers 30 $check leftovers "$out"
rm -rf "$out/cache"
"$python" experiments/gpu_check/summary.py "$out"
