-- Records that have ended are found slice by slice of their keys: each index is written with every record.
DROP INDEX idempotency_end;
