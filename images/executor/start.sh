#!/bin/bash
# What the contract starts: bash /usr/bin/start.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -f "$here/executor.py" ] || here=/app
exec python3 "$here/executor.py"
