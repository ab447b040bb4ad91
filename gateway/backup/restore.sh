#!/bin/sh
# restore.sh fresh FOLDER SUFFIX   restore a backup into databases of these names and the suffix; facts go to $FACTS
# restore.sh swap SUFFIX ASIDE     these take the place of the present ones, which move aside; all of them or none
# restore.sh drop SUFFIX           drop the databases of this suffix
# restore.sh quiet                 fail while anybody is connected to one of the databases
# PGSERVICEFILE names the databases, and $DATABASES beside this script lists them: a service and its database a line.
set -eu
umask 077
here=$(dirname "$0")
what=$1
shift

ask() { # SERVICE DATABASE STATEMENT
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="service=$1 dbname=$2" --command="$3"
}
exists() { # SERVICE DATABASE
  [ -n "$(ask "$1" postgres "SELECT 1 FROM pg_database WHERE datname = '$2'")" ]
}
rename() { # SERVICE FROM TO
  ask "$1" postgres "ALTER DATABASE \"$2\" RENAME TO \"$3\""
}

case $what in
  quiet)
    while read -r service database; do
      # Of services that were stopped just now the server takes a moment to see it.
      for pause in 0.2 0.5 1 0; do
        count=$(ask "$service" postgres "SELECT count(*) FROM pg_stat_activity
          WHERE datname = '$database' AND backend_type = 'client backend'" </dev/null)
        [ "$count" != 0 ] || break
        sleep "$pause"
      done
      if [ "$count" != 0 ]; then
        echo "$count connection(s) to $database: stop the services first." >&2
        exit 1
      fi
    done <"$DATABASES"
    ;;
  fresh)
    folder=$1 suffix=$2
    while read -r service database; do
      fresh="${database}_$suffix"
      ask "$service" postgres "DROP DATABASE IF EXISTS \"$fresh\"" </dev/null
      ask "$service" postgres "CREATE DATABASE \"$fresh\"" </dev/null
      pg_restore --no-owner --no-privileges --exit-on-error --dbname="service=$service dbname=$fresh" \
        "$folder/id_$service.dump" </dev/null
      psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname="service=$service dbname=$fresh" \
        --file="$here/facts.sql" --output="$FACTS/id_$service.facts" </dev/null
    done <"$DATABASES"
    ;;
  swap)
    suffix=$1 aside=$2
    if ! (
      while read -r service database; do
        # Within a condition the shell does not stop by itself.
        if exists "$service" "$database" </dev/null; then
          rename "$service" "$database" "${database}_$aside" </dev/null || exit 1
        fi
        rename "$service" "${database}_$suffix" "$database" </dev/null || exit 1
      done <"$DATABASES"
    ); then
      # Back to how it was, as far as it had come.
      while read -r service database; do
        exists "$service" "${database}_$aside" </dev/null || continue
        if exists "$service" "$database" </dev/null; then
          rename "$service" "$database" "${database}_$suffix" </dev/null
        fi
        rename "$service" "${database}_$aside" "$database" </dev/null
      done <"$DATABASES"
      echo "The databases could not change places: the present ones are where they were." >&2
      exit 1
    fi
    ;;
  drop)
    suffix=$1
    while read -r service database; do
      ask "$service" postgres "DROP DATABASE IF EXISTS \"${database}_$suffix\"" </dev/null
    done <"$DATABASES"
    ;;
  *)
    echo "restore.sh knows no $what." >&2
    exit 2
    ;;
esac
