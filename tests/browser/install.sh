#!/bin/sh
# A Chromium for the browser tests: the system's, else Debian's package, else Playwright's own build.
# Use: install.sh PYTHON
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "Installing Chromium for the browser tests ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null
else
    "$1" -m playwright install chromium
fi
