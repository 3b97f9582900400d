#!/usr/bin/env bash
# Usage: tools/compose_secrets.sh [DIRECTORY]
# Makes the secret files that compose.yaml mounts. What is there already stays as it is.
set -euo pipefail

directory=${1:-secrets}

mkdir -p "$directory"
# The folder keeps others on this machine out; the files themselves must be readable to the containers' users.
chmod 0700 "$directory"
cd "$directory"

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# Written whole and renamed: a half written secret would stay for ever.
put() {
    printf '%s' "$2" >".$1.new"
    chmod 0444 ".$1.new"
    mv ".$1.new" "$1"
    printf 'wrote %s/%s\n' "$directory" "$1"
}

if [ ! -e postgres_password ]; then
    # An URL to another password would only tell of it by a failing login.
    [ ! -e orch_database_url ] || { echo "error: $directory/orch_database_url is there without postgres_password; remove it or bring the password back" >&2; exit 1; }
    put postgres_password "$(random)"
fi
[ -e orch_database_url ] ||
    put orch_database_url "postgresql+psycopg://orchestrator:$(cat postgres_password)@postgres:5432/orchestrator"

if [ ! -e valkey_conf ]; then
    [ ! -e orch_broker_url ] || { echo "error: $directory/orch_broker_url is there without valkey_conf; remove it or bring the file back" >&2; exit 1; }
    put valkey_conf "dir /data
save 60 1
appendonly no
maxmemory-policy noeviction
requirepass $(random)
"
fi
[ -e orch_broker_url ] || put orch_broker_url "redis://:$(sed -n 's/^requirepass //p' valkey_conf)@valkey:6379/0"

[ -e orch_api_token ] || put orch_api_token "$(random)"
[ -e flower_basic_auth ] || put flower_basic_auth "orchestrator:$(random)"
