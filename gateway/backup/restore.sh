#!/bin/sh
# restore.sh fresh FOLDER SUFFIX   restore a backup into databases of these names and the suffix; facts go to $FACTS
# restore.sh swap SUFFIX ASIDE     these take the place of the present ones, which move aside; all of them or none
# restore.sh drop SUFFIX           drop the databases of this suffix
# restore.sh quiet                 fail while anybody is connected to one of the databases
# restore.sh settled               the same, once a backup that is being made of them has ended
# PGSERVICEFILE names the databases, and $DATABASES beside this script lists them: a service and its database a line.
set -eu
umask 077
here=$(dirname "$0")
what=$1
shift

ask() { # SERVICE DATABASE STATEMENT
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="service=$1 dbname=$2" --command="$3"
}
there() { # SERVICE DATABASE: prints 1, or 0 where there is none; fails where the server does not say
  ask "$1" postgres "SELECT count(*) FROM pg_database WHERE datname = '$2'"
}
# Of other logins' connections PostgreSQL shows a login without their privileges whose they are, and in which database: not
# what kind they are of. The server's own processes, such as autovacuum, are nobody's, and leave by themselves.
connected() { # SERVICE DATABASE [PROGRAM]: prints how many are connected to it, or how many of that program
  ask "$1" postgres "SELECT count(*) FROM pg_stat_activity
    WHERE datname = '$2' AND usesysid IS NOT NULL ${3:+AND application_name = '$3'}"
}
quiet() {
  while read -r service database; do
    # Of services that were stopped just now the server takes a moment to see it.
    for pause in 0.2 0.5 1 0; do
      count=$(connected "$service" "$database" </dev/null)
      [ "$count" != 0 ] || break
      sleep "$pause"
    done
    if [ "$count" != 0 ]; then
      echo "$count connection(s) to $database: stop the services first, and wait for a backup." >&2
      exit 1
    fi
  done <"$DATABASES"
}
# A backup goes from one database to the next, and in between is in none: where there was one, two looks have to find none.
wait_for_backups() {
  looks=1 told=
  while [ "$looks" != 0 ]; do
    looks=$((looks - 1))
    while read -r service database; do
      count=$(connected "$service" "$database" id-backup </dev/null)
      [ "$count" = 0 ] || looks=2
    done <"$DATABASES"
    if [ "$looks$told" = 2 ]; then
      echo "A backup is being made: waiting until it has ended."
      told=yes
    fi
    [ "$looks" = 0 ] || sleep 1
  done
}
rename() { # SERVICE FROM TO
  ask "$1" postgres "ALTER DATABASE \"$2\" RENAME TO \"$3\""
}

# Of the two below each step is followed by what to do where it fails: within a condition the shell does not stop by itself.
forward() { # SERVICE DATABASE SUFFIX ASIDE
  present=$(there "$1" "$2") || return 1
  if [ "$present" = 1 ]; then
    rename "$1" "$2" "$2_$4" || return 1
  fi
  rename "$1" "$2_$3" "$2" || return 1
}
back() { # The same; as far as it had come
  before=$(there "$1" "$2_$4") || return 1
  fresh=$(there "$1" "$2_$3") || return 1
  if [ "$fresh" = 0 ]; then
    rename "$1" "$2" "$2_$3" || return 1
  fi
  if [ "$before" = 1 ]; then
    rename "$1" "$2_$4" "$2" || return 1
  fi
}

case $what in
  quiet)
    quiet
    ;;
  settled)
    wait_for_backups
    quiet
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
    # Nobody's impatience stops it halfway: the databases would be of two times.
    trap '' HUP INT TERM
    while read -r service database; do
      fresh=$(there "$service" "${database}_$suffix" </dev/null)
      if [ "$fresh" = 0 ]; then
        echo "There is no ${database}_$suffix to take the place of $database: nothing was touched." >&2
        exit 1
      fi
    done <"$DATABASES"
    failed=
    while read -r service database; do
      if ! forward "$service" "$database" "$suffix" "$aside" </dev/null; then
        failed=$database
        break
      fi
    done <"$DATABASES"
    if [ -n "$failed" ]; then
      lost=
      while read -r service database; do
        back "$service" "$database" "$suffix" "$aside" </dev/null || lost="$lost $database"
      done <"$DATABASES"
      if [ -n "$lost" ]; then
        echo "The databases could not change places, nor could all be put back. Start nothing. Of$lost" \
          "the present one has the suffix _$aside where there is such a one: rename it, or restore again." >&2
        exit 1
      fi
      echo "The databases could not change places: the present ones are where they were." >&2
      exit 1
    fi
    echo "The databases have changed places: those of before have the suffix _$aside."
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
