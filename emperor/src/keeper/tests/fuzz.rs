//! Bytes from the brain never bring the keeper down: nonsense, and requests with some bytes turned into others.

use empery_control::{
    framing::encode,
    keeper::{Ask, ListenAddress, ListenSpec, Request, RequestId},
};
use empery_lifecycle::{
    fleet::{Berth, Identity, MasterKey},
    ids::{MasterSerial, VassalName},
};
use proptest::{prelude::*, test_runner::TestRunner};

use super::{Room, alone, desk};

/// Requests to start from. None of them starts or leaves anything when it is damaged in a way that is still understood.
fn requests() -> Vec<Vec<u8>> {
    let vassal = VassalName::new("a.ini").unwrap();
    let listener = ListenSpec {
        key: "k".to_owned(),
        address: ListenAddress::Unix("/nonexistent/directory/socket".into()),
        backlog: 1,
        mode: Some(0o666),
        owner: None,
        reuse_port: true,
        freebind: false,
    };
    let master = MasterKey { vassal: vassal.clone(), berth: Berth::B, serial: MasterSerial(1) };
    let asks = [
        Ask::List,
        Ask::Open { name: vassal.clone() },
        Ask::Bind { vassal: vassal.clone(), identity: Identity { uid: 1, gid: 1 }, listener },
        Ask::Keep { vassal: vassal.clone(), key: "k".to_owned() },
        Ask::KeepRegions {
            master: MasterKey { vassal: vassal.clone(), berth: Berth::A, serial: MasterSerial(1) },
            names: vec!["r".to_owned()],
        },
        Ask::KeepLog { master: master.clone() },
        Ask::Forget { vassal, keys: vec!["k".to_owned()] },
        Ask::Kill { master, was_to_leave: true },
        Ask::Masters,
    ];
    asks.map(|ask| encode(&Request { id: RequestId(1), ask }).unwrap()).into()
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let places = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    (proptest::sample::select(requests()), places, any::<proptest::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, places, end, cut)| {
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

#[test]
fn no_message_panics_the_keeper_and_every_answer_can_be_sent() {
    if !alone("keeper::tests::fuzz::no_message_panics_the_keeper_and_every_answer_can_be_sent") {
        return;
    }
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let message = prop_oneof![damaged(), proptest::collection::vec(any::<u8>(), 0..64)];
    let tried = TestRunner::new(config).run(&proptest::collection::vec(message, 1..8), |messages| {
        let room = Room::new("fuzz");
        let mut desk = desk(&room);
        for message in messages {
            let done = desk.handle(&message, Vec::new());
            prop_assert!(done.leave.is_none());
            for reply in done.replies {
                prop_assert!(encode(&reply.word).is_ok());
            }
        }
        Ok(())
    });
    tried.unwrap();
}
