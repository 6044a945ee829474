//! One test a device for operators.

/// One test a device: the body gets the operators and the device of its tensors.
macro_rules! on_devices {
    ($name:ident, $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn body(o: &Operators, device: &Device) {
                let body: fn(&Operators, &Device) = $body;
                body(o, device);
            }

            #[test]
            fn host() {
                if let Some(host) = Host::new() {
                    body(&operators(host), &Device::Cpu);
                }
            }

            #[test]
            fn cuda() {
                if let Some((_alone, device)) = gpu() {
                    body(&ebm_core::operators::operators(&device).unwrap(), &device);
                }
            }
        }
    };
}
