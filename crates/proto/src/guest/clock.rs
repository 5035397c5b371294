//! What the host tells a guest in which no time has passed.

use serde::{Deserialize, Serialize};

/// For a guest that goes on after it was paused, or where a snapshot of it left off: the time that
/// has passed meanwhile, and randomness that nobody who has the snapshot knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetClock {
    /// Wall clock of the host: nanoseconds since 1970 UTC.
    pub clock_unix_nanos: i64,
    /// 32 fresh random bytes as 64 hexadecimal digits, from which the guest's kernel begins its
    /// randomness anew; empty to leave that as it is.
    #[serde(default)]
    pub random_seed: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Service;

    #[test]
    fn a_seed_may_be_left_out() {
        let service =
            Service::SetClock(SetClock { clock_unix_nanos: -7, random_seed: "ab".into() });
        let json =
            r#"{"service":"set_clock","request":{"clock_unix_nanos":-7,"random_seed":"ab"}}"#;
        assert_eq!(serde_json::to_string(&service).unwrap(), json);
        assert_eq!(serde_json::from_str::<Service>(json).unwrap(), service);
        assert_eq!(service.name(), "set_clock");
        let bare: SetClock = serde_json::from_str(r#"{"clock_unix_nanos":1}"#).unwrap();
        assert_eq!(bare.random_seed, "");
    }
}
