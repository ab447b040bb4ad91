-- What a database holds, a line for each fact: the moment (no later than the snapshot), versions, rows of each table.
\pset format unaligned
\pset tuples_only on
\pset fieldsep ' '
SELECT 'taken_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"');
SELECT 'postgres', current_setting('server_version');
SELECT 'head', version_num FROM alembic_version;
SELECT format('SELECT ''rows'', %L, count(*) FROM %I.%I', tablename, schemaname, tablename)
FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename \gexec
