//! Bodies of requests to the daemon: any bytes, as every type that a call takes.
//!
//! What is taken is the same after it was written and read again.

#![no_main]

use std::fmt::Debug;

use banger_proto::api::{
    AttachToJob, BringBranch, CollectGarbage, CreateVm, DeleteVm, ExecVm, ForkVm, ImportImage,
    ImportKernel, ObtainImage, ObtainKernel, PrepareWorkspace, RegisterImage, RestartVm,
    RestoreSnapshot, SetVm, SignalJob, StartVm, StopVm, TakeSnapshot, WaitVm,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    if let Ok(body) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_string(&body).expect("a body that can be written");
        assert_eq!(serde_json::from_str::<T>(&text).expect("what was written"), body);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    check::<AttachToJob>(data);
    check::<BringBranch>(data);
    check::<CollectGarbage>(data);
    check::<CreateVm>(data);
    check::<DeleteVm>(data);
    check::<ExecVm>(data);
    check::<ForkVm>(data);
    check::<ImportImage>(data);
    check::<ImportKernel>(data);
    check::<ObtainImage>(data);
    check::<ObtainKernel>(data);
    check::<PrepareWorkspace>(data);
    check::<RegisterImage>(data);
    check::<RestartVm>(data);
    check::<RestoreSnapshot>(data);
    check::<SetVm>(data);
    check::<SignalJob>(data);
    check::<StartVm>(data);
    check::<StopVm>(data);
    check::<TakeSnapshot>(data);
    check::<WaitVm>(data);
});
