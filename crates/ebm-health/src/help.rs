//! What helps against each cause, with the figures of the studies in the book's chapter on stability where there are some.

use ebm_core::Cause;

/// What to do, and what helped; empty where there is nothing to say.
pub(crate) fn help(cause: Cause) -> &'static str {
    match cause {
        Cause::LearningRate => {
            "lower the learning rate tenfold, or limit the gradient (optimiser.clip_norm); the runs of the book that stayed together had rates of 1e-4 to 2e-3 with a clip norm of 0.5 to 1"
        }
        Cause::StepSize => {
            "lower the sampler's step_size until its move is a small part of the data's range, or hold the samples (clamp); in the study of digits with steps that are far too long 7 of 15 runs blew up, with the KL term none"
        }
        Cause::Noise => {
            "lower the sampler's noise below a tenth of the data's range; the runs of the book have 0.005 to 0.03 on data in [0, 1]"
        }
        Cause::Unclamped => {
            "hold the samples where the data are (clamp), or take a transition that accepts or rejects (mala, hmc)"
        }
        Cause::MissingPenalty => {
            "add a penalty on the energies' size (objective energy_l2), or the KL term; in the study without the penalty 3 of 6 runs without the KL term left the bound, with it none"
        }
        Cause::ChainsStuck => {
            "more or longer sampler steps, the KL term, or a lower learning rate; in the studies of CIFAR-10 10 of 12 runs without the KL term parted, with it and without the entropy term none of 6"
        }
        Cause::BufferTooSmall => {
            "raise replay.capacity to a hundred batches or more, so that chains are old and different; the published programs keep 10000"
        }
        Cause::Term => {
            "check the weight and the schedule of the term; at the published weight 0.3 the entropy term outweighed energies of 0.03 in the study of digits, at 0.003 it did no harm"
        }
        Cause::ConstantEnergy => {
            "look at the weights (all 0, dead units after a step that was too large), lower the learning rate, and check that the objective weighs data and samples"
        }
        Cause::Frozen => {
            "check that the energy has trainable parameters, that the objective's weights are not 0, and that the rate is not"
        }
        Cause::NotFinite => {
            "lower the learning rate or the sampler's step_size; run.dtype = \"f64\" tells overflow from other faults"
        }
        _ => "",
    }
}
