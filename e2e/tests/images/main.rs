//! Images from a real registry, compared with what another tool makes of them, and booted.

mod reader;
