#!/bin/sh
# dump.sh FOLDER SERVICE…: dump the databases of these services, which PGSERVICEFILE names, one after the other.
# The order is the caller's, and matters: whoever hears of things before whoever tells of them (docs/decisions/0031).
set -eu
umask 077
folder=$1
shift
here=$(dirname "$0")
for service in "$@"; do
  export SERVICE="$service" DUMP="$folder/id_$service.dump"
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=facts="$folder/id_$service.facts" \
    --dbname="service=$service" --file="$here/dump.sql"
  # psql does not stop where pg_dump has failed, which has said why.
  [ -e "$DUMP.whole" ] || exit 1
  rm "$DUMP.whole"
  pg_restore --list "$DUMP" >/dev/null
done
