//! Arithmetic on entries, as data: what an optimiser does to each number of its tensors, for a device to do in one kernel.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Sub};

use candle_core::{Result, Tensor};

use crate::devices::host::given;

/// What a step of an [`Elementwise`] program does with `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a·b`.
    Mul,
    /// `a/b`.
    Div,
    /// `√a`; `b` is `a`.
    Sqrt,
}

/// A value of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The entry of this input.
    Input(usize),
    /// This number, the same for all entries.
    Number(usize),
    /// The result of this step.
    Step(usize),
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Which.
    pub op: Arithmetic,
    /// First operand.
    pub a: Place,
    /// Second operand.
    pub b: Place,
}

/// A program on entries: every output entry comes from the entries of the inputs at the same place and from numbers that may
/// differ from call to call. Each step rounds once; none may be fused with another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Elementwise {
    /// How many tensors go in.
    pub inputs: usize,
    /// How many numbers.
    pub numbers: usize,
    /// The steps in order; each reads inputs, numbers and earlier steps.
    pub steps: Vec<Step>,
    /// What comes out.
    pub outputs: Vec<Place>,
}

/// Runs [`Elementwise`] programs.
pub trait ElementwiseOps: Send + Sync {
    /// The outputs of `program`, each like the first of `inputs`, which all have its shape.
    ///
    /// # Errors
    /// If the device fails.
    fn map(&self, program: &Elementwise, numbers: &[f64], inputs: &[&Tensor]) -> Result<Option<Vec<Tensor>>>;
}

/// What a [`Formula`] computes with.
pub trait Entry:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// The square root.
    #[must_use]
    fn sqrt(self) -> Self;
}

impl Entry for f32 {
    #[inline]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
}

impl Entry for f64 {
    #[inline]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
}

/// A formula of `K` numbers that makes `M` entries of `N`, written once: on a processor it runs in a loop over the entries, on a
/// device as an [`Elementwise`] program, elsewhere as tensor operations. See [`map_entries`](super::map_entries).
pub trait Formula<const K: usize, const N: usize, const M: usize> {
    /// The numbers, rounded to the type of the entries before anything is computed.
    fn numbers(&self) -> [f64; K];

    /// The formula.
    fn entry<E: Entry>(numbers: [E; K], inputs: [E; N]) -> [E; M];
}

impl Elementwise {
    /// The program of a formula.
    pub fn of<F: Formula<K, N, M>, const K: usize, const N: usize, const M: usize>() -> Elementwise {
        let steps = RefCell::new(Vec::new());
        let at = |place| Recorded { steps: &steps, place };
        let numbers = std::array::from_fn(|k| at(Place::Number(k)));
        let outputs = F::entry(numbers, std::array::from_fn(|k| at(Place::Input(k))));
        let outputs = outputs.iter().map(|o| o.place).collect();
        Elementwise { inputs: N, numbers: K, steps: steps.into_inner(), outputs }
    }

    /// The outputs by tensor operations.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn by_tensors(&self, numbers: &[f64], inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let mut done: Vec<Value> = Vec::with_capacity(self.steps.len());
        let value = |place: Place, done: &[Value]| match place {
            Place::Input(k) => Value::Tensor(inputs[k].clone()),
            Place::Number(k) => Value::Number(numbers[k]),
            Place::Step(k) => done[k].clone(),
        };
        for step in &self.steps {
            let result = value(step.a, &done).with(step.op, &value(step.b, &done))?;
            done.push(result);
        }
        let tensor = |place: &Place| match value(*place, &done) {
            Value::Tensor(t) => Ok(t),
            Value::Number(v) => given(&[v], inputs[0].dtype(), inputs[0].device())?
                .broadcast_as(inputs[0].shape())?
                .contiguous(),
        };
        self.outputs.iter().map(tensor).collect()
    }
}

/// An entry that is not known: what is done with it is written down.
#[derive(Clone, Copy)]
struct Recorded<'a> {
    steps: &'a RefCell<Vec<Step>>,
    place: Place,
}

impl Recorded<'_> {
    fn with(self, op: Arithmetic, other: Self) -> Self {
        let mut steps = self.steps.borrow_mut();
        steps.push(Step { op, a: self.place, b: other.place });
        Recorded { place: Place::Step(steps.len() - 1), ..self }
    }
}

macro_rules! recorded {
    ($($operator:ident $method:ident),*) => {$(
        impl $operator for Recorded<'_> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.with(Arithmetic::$operator, other)
            }
        }
    )*};
}
recorded!(Add add, Sub sub, Mul mul, Div div);

impl Entry for Recorded<'_> {
    fn sqrt(self) -> Self {
        self.with(Arithmetic::Sqrt, self)
    }
}

/// A value on the way through a program by tensor operations.
#[derive(Clone)]
enum Value {
    Number(f64),
    Tensor(Tensor),
}

impl Value {
    fn with(&self, op: Arithmetic, other: &Value) -> Result<Value> {
        use Arithmetic::{Add, Div, Mul, Sqrt, Sub};
        Ok(Value::Tensor(match (op, self, other) {
            (Sqrt, Value::Tensor(t), _) => t.sqrt()?,
            (Add, Value::Tensor(t), Value::Number(c)) | (Add, Value::Number(c), Value::Tensor(t)) => {
                t.affine(1.0, *c)?
            }
            (Sub, Value::Tensor(t), Value::Number(c)) => t.affine(1.0, -c)?,
            (Sub, Value::Number(c), Value::Tensor(t)) => t.affine(-1.0, *c)?,
            (Mul, Value::Tensor(t), Value::Number(c)) | (Mul, Value::Number(c), Value::Tensor(t)) => {
                t.affine(*c, 0.0)?
            }
            (Div, Value::Tensor(t), Value::Number(c)) => t.affine(1.0 / c, 0.0)?,
            (Div, Value::Number(c), Value::Tensor(t)) => t.recip()?.affine(*c, 0.0)?,
            (Add, Value::Tensor(a), Value::Tensor(b)) => (a + b)?,
            (Sub, Value::Tensor(a), Value::Tensor(b)) => (a - b)?,
            (Mul, Value::Tensor(a), Value::Tensor(b)) => (a * b)?,
            (Div, Value::Tensor(a), Value::Tensor(b)) => (a / b)?,
            (op, Value::Number(a), b) => {
                let b = if let Value::Number(b) = b { *b } else { *a };
                return Ok(Value::Number(match op {
                    Add => a + b,
                    Sub => a - b,
                    Mul => a * b,
                    Div => a / b,
                    Sqrt => a.sqrt(),
                }));
            }
        }))
    }
}
