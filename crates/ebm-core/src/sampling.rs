//! How samples move: transitions, their links, the loop that drives them, samplers, draws, populations, replay buffers.

pub(crate) mod draws;
pub(crate) mod drive;
pub(crate) mod entropy;
pub(crate) mod law;
pub(crate) mod learning;
pub(crate) mod link;
pub(crate) mod population;
pub(crate) mod replay;
pub(crate) mod row_step;
pub(crate) mod sampler;
pub(crate) mod sensitivity;
pub(crate) mod stop;
pub(crate) mod transition;
