#!/usr/bin/env bash
# Installs a built kdrun afresh, for the other scripts here:  install.sh BUILD_FOLDER PREFIX
set -euo pipefail
rm -rf "$2"
cmake --install "$1" --prefix "$2" >/dev/null
