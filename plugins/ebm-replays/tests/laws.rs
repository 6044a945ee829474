//! The laws of a buffer for every kind of this crate, in both forms of storage.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device};
use ebm_core::{BuildCx, Key, ReplayConfig};
use ebm_replays::kit::{ByteSettings, Storage, StoreSettings};
use ebm_replays::{InPlaceConfig, Order, RandomOverwriteConfig, ReservoirConfig, RingConfig};
use ebm_testkit::check_replay;

#[test]
fn what_goes_in_comes_out() {
    for (storage, tolerance) in [(Storage::Float, 0.0), (Storage::Bytes, 2.0 / 256.0)] {
        for capacity in [4, 10] {
            let store = || StoreSettings { capacity, storage };
            let published = || ByteSettings { published: true, inverted: false };
            let all: [Box<dyn ReplayConfig>; 7] = [
                Box::new(RingConfig { store: store(), bytes: ByteSettings::default() }),
                Box::new(RingConfig { store: store(), bytes: published() }),
                Box::new(ReservoirConfig { store: store(), bytes: ByteSettings::default() }),
                Box::new(ReservoirConfig { store: store(), bytes: published() }),
                Box::new(RandomOverwriteConfig { store: store() }),
                Box::new(InPlaceConfig { store: store(), order: Order::Turns }),
                Box::new(InPlaceConfig { store: store(), order: Order::Random }),
            ];
            for config in all {
                let build = || {
                    let mut cx = BuildCx::new(&[2, 3], DType::F32, &Device::Cpu, Key::root(0));
                    config.build(&mut cx)
                };
                check_replay(&build, &[2, 3], tolerance).unwrap();
            }
        }
    }
}
