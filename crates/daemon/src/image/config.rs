//! What an OCI image's configuration says about running it
//! (<https://github.com/opencontainers/image-spec/blob/main/config.md>).

use banger_proto::Digest;
use banger_proto::api::RunConfig;
use oci_spec::image::{Arch, ImageConfiguration, Os};

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is for other machines.
    #[error("the image is for {os}/{arch}, not for linux/amd64")]
    Platform {
        /// Operating system.
        os: String,
        /// Architecture.
        arch: String,
    },
    /// A text that no program can be given.
    #[error("its configuration has a NUL character in `{0}`")]
    Nul(&'static str),
    /// A digest that is none.
    #[error("its configuration has `{0}` where the SHA-256 of a layer should be")]
    DiffId(String),
}

/// What of a configuration matters to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OciConfig {
    /// About running it.
    pub(crate) run: RunConfig,
    /// SHA-256 of each uncompressed layer, the lowest first.
    pub(crate) diff_ids: Vec<[u8; 32]>,
}

/// Takes from a configuration what matters. Empty texts mean what absent ones do.
///
/// # Errors
/// When the image is for other machines, or the configuration makes no sense.
pub(crate) fn parse_config(config: &ImageConfiguration) -> Result<OciConfig, ConfigError> {
    if *config.os() != Os::Linux || *config.architecture() != Arch::Amd64 {
        let (os, arch) = (config.os().to_string(), config.architecture().to_string());
        return Err(ConfigError::Platform { os, arch });
    }
    let diff_ids = config.rootfs().diff_ids().iter().map(|text| {
        let digest = text.parse::<Digest>();
        digest.map(|digest| *digest.as_bytes()).map_err(|_| ConfigError::DiffId(text.clone()))
    });
    let diff_ids = diff_ids.collect::<Result<_, _>>()?;
    let Some(said) = config.config() else {
        return Ok(OciConfig { run: RunConfig::default(), diff_ids });
    };
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let env = said.env().iter().flatten().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    let run = RunConfig {
        env: env.collect(),
        working_dir: text(said.working_dir()),
        user: text(said.user()),
        entrypoint: said.entrypoint().clone().unwrap_or_default(),
        cmd: said.cmd().clone().unwrap_or_default(),
        stop_signal: text(said.stop_signal()),
    };
    check(&run)?;
    Ok(OciConfig { run, diff_ids })
}

fn check(run: &RunConfig) -> Result<(), ConfigError> {
    let has_nul = |text: &String| text.contains('\0');
    let wrong = [
        ("Env", run.env.iter().any(|(name, value)| has_nul(name) || has_nul(value))),
        ("WorkingDir", run.working_dir.iter().any(has_nul)),
        ("User", run.user.iter().any(has_nul)),
        ("Entrypoint", run.entrypoint.iter().any(has_nul)),
        ("Cmd", run.cmd.iter().any(has_nul)),
        ("StopSignal", run.stop_signal.iter().any(has_nul)),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        Some(&(field, _)) => Err(ConfigError::Nul(field)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config: serde_json::Value) -> Result<OciConfig, ConfigError> {
        let document = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "01".repeat(32))] },
        });
        parse_config(&serde_json::from_value(document).unwrap())
    }

    #[test]
    fn everything_that_matters_is_taken() {
        let config = parse(serde_json::json!({
            "Env": ["PATH=/bin", "EMPTY=", "A=b=c", "nonsense", "=x"],
            "Entrypoint": ["/serve"], "Cmd": ["--fast"], "WorkingDir": "/srv", "User": "web:www",
            "StopSignal": "SIGQUIT", "ExposedPorts": { "80/tcp": {} },
        }))
        .unwrap();
        let env = [("PATH", "/bin"), ("EMPTY", ""), ("A", "b=c")];
        let run = RunConfig {
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            working_dir: Some("/srv".into()),
            user: Some("web:www".into()),
            entrypoint: vec!["/serve".into()],
            cmd: vec!["--fast".into()],
            stop_signal: Some("SIGQUIT".into()),
        };
        assert_eq!(config, OciConfig { run, diff_ids: vec![[1; 32]] });
    }

    #[test]
    fn nothing_and_nulls_say_nothing() {
        assert_eq!(parse(serde_json::Value::Null).unwrap().run, RunConfig::default());
        let nulls = serde_json::json!({ "Env": null, "Cmd": null, "User": "", "WorkingDir": "" });
        assert_eq!(parse(nulls).unwrap().run, RunConfig::default());
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let nul = serde_json::json!({ "Env": ["A=b\0c"] });
        assert_eq!(parse(nul), Err(ConfigError::Nul("Env")));
        let arm = serde_json::json!({
            "architecture": "arm64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let error = parse_config(&serde_json::from_value(arm).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the image is for linux/arm64, not for linux/amd64");
        let bad = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": ["sha256:.."] },
        });
        let error = parse_config(&serde_json::from_value(bad).unwrap()).unwrap_err();
        assert_eq!(error, ConfigError::DiffId("sha256:..".into()));
    }
}
