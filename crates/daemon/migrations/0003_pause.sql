-- Why a VM stands still that is in state 'running': JSON of store::vms::Pause. A daemon that does not know
-- of this finds a VM that runs.
ALTER TABLE vms ADD COLUMN pause TEXT;
