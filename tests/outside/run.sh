#!/usr/bin/env bash
# Builds the project beside this script against an installed kdrun, and uses all of it:  run.sh PREFIX WORK_FOLDER
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$1
work=$2
kdrun=$prefix/bin/kdrun

# What the tested kdrun is must not depend on the shell that the tests were started from.
unset KDRUN_PLUGIN_PATH
mkdir -p "$work"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" "${launcher[@]}"
cmake --build "$work/build"

passed=0
# expect WHAT TEXT COMMAND…: the command succeeds and its output holds the text.
expect() {
  local what=$1 text=$2 output
  shift 2
  if ! output=$("$@" 2>&1); then
    printf '%s: failed:\n%s\n' "$what" "$output"
    exit 1
  fi
  if ! grep -qF -- "$text" <<<"$output"; then
    printf '%s: want "%s" in:\n%s\n' "$what" "$text" "$output"
    exit 1
  fi
  passed=$((passed + 1))
}

# 4 · KL(q‖p) at T = 2 with the logits (2, 0) and (0, 2), worked out by hand: 4 · tanh(1/2).
expect "the library, with the plugins installed beside it" 1.84847 "$work/build/use_kdrun"

export KDRUN_PLUGIN_PATH=$work/build/lib/kdrun/plugins
for plugin in "loss          outside_mse" "model         outside_linear" "scheme        outside_kd"; do
  expect "kdrun list" "$plugin" "$kdrun" list
done
if "$kdrun" list | grep '^refused'; then
  echo "kdrun list: a plugin was refused"
  exit 1
fi
expect "kdrun list --libraries" "$KDRUN_PLUGIN_PATH/loss_outside_mse.so" "$kdrun" list --libraries
rm -f "$work/my.toml"
expect "kdrun copy" "wrote $work/my.toml" "$kdrun" copy dml "$work/my.toml"
expect "the copy extends what is installed" "$prefix/share/kdrun/recipes/base/" cat "$work/my.toml"
expect "what the copy extends is found" together "$kdrun" config "$work/my.toml"
expect "the manual page" "kdrun runs remove" cat "$prefix/share/man/man1/kdrun.1"
expect "the script of completion" "$prefix/lib/kdrun/kdrun_complete" "$kdrun" completion bash
expect "completion" outside_mse env XDG_CACHE_HOME="$work/cache" "$prefix/lib/kdrun/kdrun_complete" describe loss outs
expect "the installed kdrun finds its own plugins" "$prefix" "$kdrun" describe loss kd
expect "kdrun describe" "factor of the squared error" "$kdrun" describe loss outside_mse

rm -rf "$work"/{runs,whole,stopped,other}
cd "$work"
expect "kdrun run" student "$kdrun" run "$here/recipe.toml"
expect "the records of the run" outside_mse grep -r outside_mse "$work/runs"

# Losses on features: stopped in the middle, they go on to the same bits, with their layers and their memory.
for headers in "$here"/loss_hint/*.cpp "$here"/loss_contrast/*.cpp; do
  if grep -n '#include' "$headers" | grep -v '"kd/'; then
    echo "$headers: wants more than kdrun's own headers"
    exit 1
  fi
done
features=("$kdrun" run "$here/features.toml" --device cpu)
expect "losses on features" student "${features[@]}" --run-dir whole
for stage in hint student; do
  "${features[@]}" --run-dir stopped >stopped.log 2>&1 &
  pid=$!
  until grep -q "$stage epoch 1/" stopped.log || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
  kill -TERM $pid || true
  code=0
  wait $pid || code=$?
  if [ $code -ne 75 ]; then
    printf 'the stopped run ended with %s:\n' $code
    cat stopped.log
    exit 1
  fi
done
expect "a run that goes on" student "${features[@]}" --run-dir stopped
for file in model.safetensors model.adapters.safetensors; do
  expect "the same bits" "" cmp {whole,stopped}/*/*/stages/student/ckpt/last/$file
done

# Analyses that look inside networks, one file each: weights that are changed and come back, features of a network of
# another run, gradients by images. What they leave is the same in both runs.
for file in "$here"/analysis_*/*.cpp; do
  if [ "$(wc -l <"$file")" -ge 200 ]; then
    echo "$file: an analysis should fit into 200 lines"
    exit 1
  fi
done
for table in flatness cka fgsm; do
  expect "the same $table" "" cmp {whole,stopped}/*/*/analysis/$table.csv
done
for file in flatness.svg flatness.png cka.svg cka.png; do
  expect "$file" "" test -s whole/*/*/analysis/$file
done
whole=$(echo whole/*/*)
expect "CKA with a network of another run" "linear CKA of student/model with student/model" "${features[@]}" --run-dir other \
  --seed 2 "analysis=[{ type = \"outside_cka\", stage = \"student\", other_stage = \"student\", other_run = \"$whole\" }]"
echo "$passed passed, 0 failed"
