#!/usr/bin/env bash
# Writes a plugin of every kind with `kdrun new plugin`, builds them against an installed kdrun, and runs the tests that
# come with them:  new_plugins.sh PREFIX WORK_FOLDER
set -euo pipefail
prefix=$1
work=$2
kinds=(dataset model augmentation loss scheme optimizer schedule analysis)

unset KDRUN_PLUGIN_PATH
rm -rf "$work"
mkdir -p "$work"
# One build for all of them, so that both processors have something to do to the end.
{
  echo 'cmake_minimum_required(VERSION 3.25)'
  echo 'project(new_plugins LANGUAGES CXX)'
  echo 'enable_testing()'
} >"$work/CMakeLists.txt"
for kind in "${kinds[@]}"; do
  "$prefix/bin/kdrun" new plugin "$kind" "demo_$kind" --outside "$work/demo_$kind"
  echo "add_subdirectory(demo_$kind)" >>"$work/CMakeLists.txt"
done
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" "${launcher[@]}" \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-restrict -Werror"
cmake --build "$work/build"

listed=$(KDRUN_PLUGIN_PATH=$work/build/lib/kdrun/plugins "$prefix/bin/kdrun" list)
for kind in "${kinds[@]}"; do
  if ! grep -qE "^$kind +demo_$kind " <<<"$listed"; then
    printf 'kdrun list does not show %s demo_%s:\n%s\n' "$kind" "$kind" "$listed"
    exit 1
  fi
done
ctest --test-dir "$work/build" --output-on-failure --no-tests=error
if [ "$(ctest --test-dir "$work/build" -N | grep -c 'Test *#')" -ne ${#kinds[@]} ]; then
  echo "a plugin came without its test"
  exit 1
fi
echo "${#kinds[@]} passed, 0 failed"
