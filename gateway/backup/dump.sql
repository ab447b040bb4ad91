-- One snapshot for both the dump and the facts about it: pg_dump joins that of this transaction.
-- The facts come after it: until then this transaction locks no table, so that no migration can wait for it while
-- pg_dump waits for that migration.
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\! pg_dump --format=custom --snapshot="$SNAPSHOT" --dbname="service=$SERVICE" --file="$DUMP" && touch "$DUMP.whole"
\o :facts
\ir facts.sql
COMMIT;
-- Outside of the snapshot: a migration that ran meanwhile may have made the numbers of rows wrong.
SELECT 'head_afterwards', version_num FROM alembic_version;
\o
