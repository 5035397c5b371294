-- What became of each VM, change by change, the oldest ones left out. A row is written in the
-- transaction that records the state it tells of.
CREATE TABLE history (
    vm          TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,           -- counts the VM's changes
    change      TEXT NOT NULL,              -- JSON of api::VmChange
    PRIMARY KEY (vm, number)
) STRICT, WITHOUT ROWID;
