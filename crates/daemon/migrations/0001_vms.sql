-- A VM: what was asked (spec), what was decided (plan), and where it is in its life.
CREATE TABLE vms (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    spec        TEXT NOT NULL,              -- JSON of api::CreateVm
    plan        TEXT NOT NULL,              -- JSON of vm::plan::VmPlan
    base        TEXT,                       -- JSON of vm::state::Base
    state       TEXT NOT NULL CHECK (state IN (
                    'created', 'preparing', 'booting', 'running', 'stopping', 'stopped', 'error')),
    ended       TEXT,                       -- JSON of api::EndReason, in state 'stopped'
    problem     TEXT,                       -- JSON of Problem, in state 'error'
    workspace   TEXT,                       -- JSON of api::VmWorkspace
    ephemeral   INTEGER NOT NULL CHECK (ephemeral IN (0, 1)),
    created_at  TEXT NOT NULL,              -- RFC 3339
    started_at  TEXT                        -- RFC 3339
) STRICT;

-- What may have been made of a VM, recorded before it is made, so that it can be taken away
-- whenever the daemon was killed.
CREATE TABLE intents (
    vm          TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,           -- order of making, from 0
    what        TEXT NOT NULL CHECK (what IN ('disk', 'vmm')),
    PRIMARY KEY (vm, what)
) STRICT;
