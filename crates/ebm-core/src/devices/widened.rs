//! Loops over plain numbers, compiled again for wider registers than every processor of a kind has.

/// Defines the function `$name`, which runs `$fused` compiled for the widest registers of this processor, or `$plain` where there are
/// none that also have a fused multiply-add. Both are `#[inline(always)]` functions of safe code; a loop that must have the same bits on
/// all processors gives the same one twice, for the compiler fuses nothing by itself.
///
/// ```
/// #[inline(always)]
/// fn add_plain(y: &mut [f64], x: &[f64]) {
///     y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
/// }
/// ebm_core::widened! {
///     /// `y ← y + x`.
///     fn add(y: &mut [f64], x: &[f64]) = add_plain, add_plain
/// }
/// let mut y = [1.0, 2.0];
/// add(&mut y, &[10.0, 20.0]);
/// assert_eq!(y, [11.0, 22.0]);
/// ```
#[macro_export]
macro_rules! widened {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? = $plain:path, $fused:path) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
                fn widest($($arg: $type),*) $(-> $out)? {
                    ($fused)($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) $(-> $out)? {
                    ($fused)($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
                    if std::arch::is_x86_feature_detected!("avx512f")
                        && std::arch::is_x86_feature_detected!("avx512dq")
                        && std::arch::is_x86_feature_detected!("avx512vl")
                    {
                        // SAFETY: the processor has the instructions, and the loop is safe code.
                        return unsafe { widest($($arg),*) };
                    }
                    // SAFETY: as above.
                    return unsafe { wide($($arg),*) };
                }
            }
            ($plain)($($arg),*)
        }
    };
}
