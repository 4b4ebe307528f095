-- What stands until somebody says otherwise, besides holds: 'frozen' (accepts nothing), 'doubted' (its file went with so
-- many others at once that it was not believed).
CREATE TABLE marks (
  mark TEXT NOT NULL,
  vassal TEXT NOT NULL,
  PRIMARY KEY (mark, vassal)
) WITHOUT ROWID;

-- Freezing and resuming bring nothing into service.
DROP VIEW deployments;
CREATE VIEW deployments AS
  SELECT id, vassal, verb, actor, revision, generation, phase, phases,
         json_extract(end, '$.result') AS verdict,
         coalesce(json_extract(end, '$.reason.sentence'), json_extract(end, '$.reason.how'),
                  json_extract(end, '$.reason.kind')) AS reason,
         json_extract(end, '$.reason.traceback') AS traceback,
         began_unix_ms, ended_unix_ms, ended_unix_ms - began_unix_ms AS took_ms, boot_output
  FROM operations WHERE verb IN ('start', 'reload');
