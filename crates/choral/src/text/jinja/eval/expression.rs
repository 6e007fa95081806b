//! Evaluates expressions.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Interpreter, OnUndefined};
use crate::text::jinja::args::{self, CallArgs};
use crate::text::jinja::ast::{
    Args, BinaryOp, CompareOp, Conditional, Const, Expr, Filter, Slice, Test, UnaryOp,
};
use crate::text::jinja::error::{Error, Result};
use crate::text::jinja::filters;
use crate::text::jinja::methods;
use crate::text::jinja::ops;
use crate::text::jinja::predicates;
use crate::text::jinja::text;
use crate::text::jinja::value::{Function, Key, Method, Missing, Range, Value};

/// jinja2's sandbox allows ranges up to this many elements.
const MAX_RANGE: usize = 100_000;

impl<'t> Interpreter<'t> {
    pub(super) fn eval(&mut self, expr: &'t Expr) -> Result<Value> {
        let value = self.eval_maybe(expr)?;
        match &value {
            Value::Undefined(missing) if self.undefined == OnUndefined::Fail => {
                Err(missing.error())
            }
            _ => Ok(value),
        }
    }

    /// What may be undefined, however strict: it is only asked whether it is.
    fn eval_maybe(&mut self, expr: &'t Expr) -> Result<Value> {
        self.budget.steps(1)?;
        match expr {
            Expr::Const(constant) => Ok(match constant {
                Const::None => Value::None,
                Const::Bool(value) => Value::Bool(*value),
                Const::Int(value) => Value::Int(*value),
                Const::Float(value) => Value::Float(*value),
                Const::Str(text) => Value::Str(Arc::clone(text)),
            }),
            Expr::Name(name) => self.name(name),
            _ => self.descend(|interpreter| interpreter.compound(expr)),
        }
    }

    fn compound(&mut self, expr: &'t Expr) -> Result<Value> {
        match expr {
            Expr::Attr(value, name) => {
                let value = self.eval(value)?;
                self.attribute(&value, name)
            }
            Expr::Item(parts) => {
                let value = self.eval(&parts.0)?;
                let index = self.eval(&parts.1)?;
                self.subscript(&value, &index)
            }
            Expr::Call(call) => {
                let callee = self.eval(&call.0)?;
                let args = self.args(&call.1)?;
                self.call(&callee, args)
            }
            Expr::Filter(filter) => self.filter(filter, None),
            Expr::Test(test) => self.eval_test(test),
            Expr::And(parts) => {
                let left = self.eval(&parts.0)?;
                if left.is_true() {
                    self.eval(&parts.1)
                } else {
                    Ok(left)
                }
            }
            Expr::Or(parts) => {
                let left = self.eval(&parts.0)?;
                if left.is_true() {
                    Ok(left)
                } else {
                    self.eval(&parts.1)
                }
            }
            Expr::Compare(first, rest) => self.compare_chain(first, rest),
            Expr::Unary(op, value) => self.unary(*op, value),
            Expr::Binary(op, parts) => {
                let left = self.eval(&parts.0)?;
                let right = self.eval(&parts.1)?;
                ops::binary(*op, &left, &right, &mut self.budget)
            }
            Expr::Concat(parts) => self.concat(parts),
            Expr::Conditional(conditional) => self.conditional(conditional),
            Expr::Slice(slice) => self.slice(slice),
            Expr::List(items) => {
                let items = self.eval_all(items)?;
                Value::list(items)
            }
            Expr::Tuple(items) => {
                let items = self.eval_all(items)?;
                Value::tuple(items)
            }
            Expr::Dict(entries) => self.dict(entries),
            Expr::Const(_) | Expr::Name(_) => self.eval_maybe(expr),
        }
    }

    fn name(&mut self, name: &Arc<str>) -> Result<Value> {
        if let Some(value) = self.lookup(name)? {
            return Ok(value);
        }
        Ok(match Function::named(name) {
            Some(function) => Value::Function(function),
            None => Value::Undefined(Missing::Name(Arc::clone(name))),
        })
    }

    fn eval_all(&mut self, items: &'t [Expr]) -> Result<Vec<Value>> {
        self.budget.elements(items.len())?;
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn dict(&mut self, entries: &'t [(Expr, Expr)]) -> Result<Value> {
        self.budget.elements(entries.len().saturating_mul(2))?;
        let mut map = IndexMap::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            map.insert(Key::new(&key, &mut self.budget)?, value);
        }
        Value::dict(map)
    }

    fn concat(&mut self, parts: &'t [Expr]) -> Result<Value> {
        let mut out = String::new();
        for part in parts {
            let value = self.eval(part)?;
            text::write_str(&value, &mut out, &mut self.budget)?;
        }
        Ok(Value::str(out))
    }

    fn unary(&mut self, op: UnaryOp, value: &'t Expr) -> Result<Value> {
        let value = self.eval(value)?;
        if op == UnaryOp::Not {
            return Ok(Value::Bool(!value.is_true()));
        }
        let op = if op == UnaryOp::Neg {
            BinaryOp::Sub
        } else {
            BinaryOp::Add
        };
        if let Value::Float(value) = value {
            // `0 - 0.0` would lose the sign of zero.
            return Ok(Value::Float(if op == BinaryOp::Sub {
                -value
            } else {
                value
            }));
        }
        ops::binary(op, &Value::Int(0), &value, &mut self.budget)
    }

    fn conditional(&mut self, conditional: &'t Conditional) -> Result<Value> {
        if self.eval(&conditional.condition)?.is_true() {
            return self.eval(&conditional.then);
        }
        match &conditional.otherwise {
            Some(otherwise) => self.eval(otherwise),
            None => Ok(Value::Undefined(Missing::Nothing)),
        }
    }

    fn compare_chain(&mut self, first: &'t Expr, rest: &'t [(CompareOp, Expr)]) -> Result<Value> {
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            let budget = &mut self.budget;
            let holds = match op {
                CompareOp::Eq => left.equals(&right, budget)?,
                CompareOp::Ne => !left.equals(&right, budget)?,
                CompareOp::In => ops::contains(&right, &left, budget)?,
                CompareOp::NotIn => !ops::contains(&right, &left, budget)?,
                CompareOp::Lt => ops::compare(&left, &right, budget)?.is_lt(),
                CompareOp::Le => ops::compare(&left, &right, budget)?.is_le(),
                CompareOp::Gt => ops::compare(&left, &right, budget)?.is_gt(),
                CompareOp::Ge => ops::compare(&left, &right, budget)?.is_ge(),
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn slice(&mut self, slice: &'t Slice) -> Result<Value> {
        let value = self.eval(&slice.value)?;
        let mut bounds = [None, None, None];
        for (bound, expr) in bounds
            .iter_mut()
            .zip([&slice.start, &slice.stop, &slice.step])
        {
            if let Some(expr) = expr {
                *bound = Some(self.eval(expr)?);
            }
        }
        let bounds = bounds.each_ref().map(Option::as_ref);
        ops::slice(&value, bounds, &mut self.budget)
    }

    /// `value.name`: a method first, then an item of that name.
    pub(crate) fn attribute(&mut self, value: &Value, name: &Arc<str>) -> Result<Value> {
        self.budget.read(name.len())?;
        if let Some(method) = methods::find(value, name) {
            return Ok(method);
        }
        let found = match value {
            Value::Undefined(missing) => return Err(missing.error()),
            Value::Dict(dict) => dict.get_str(name).cloned(),
            Value::Namespace(at) => self.namespaces[*at].get(name).cloned(),
            Value::Loop(at) => self.loop_attribute(*at, name)?,
            Value::Macro(at) if &**name == "name" => self
                .macros
                .get(*at)
                .map(|closure| Value::Str(Arc::clone(&closure.definition.name))),
            _ => None,
        };
        Ok(found.unwrap_or_else(|| {
            Value::Undefined(Missing::Attr(value.type_name(), Arc::clone(name)))
        }))
    }

    /// `value[index]`: an item first, then a method or attribute of that name.
    pub(crate) fn subscript(&mut self, value: &Value, index: &Value) -> Result<Value> {
        if let Value::Undefined(missing) = value {
            return Err(missing.error());
        }
        if let Value::Dict(_) = value
            && matches!(index, Value::List(_) | Value::Dict(_))
        {
            return Ok(Value::Undefined(Missing::Index));
        }
        if let Some(item) = ops::item(value, index, &mut self.budget)? {
            return Ok(item);
        }
        match index {
            Value::Str(name) => self.attribute(value, name),
            _ => Ok(Value::Undefined(Missing::Index)),
        }
    }

    fn loop_attribute(&mut self, at: usize, name: &str) -> Result<Option<Value>> {
        let Some(state) = self.loops.get(at) else {
            return Ok(None);
        };
        let (index, count) = (state.index, state.items.len());
        let neighbour = |at: Option<usize>| {
            at.and_then(|at| state.items.get(at))
                .cloned()
                .unwrap_or(Value::Undefined(Missing::Index))
        };
        let int = |value: usize| Value::Int(value as i128);
        Ok(Some(match name {
            "index" => int(index + 1),
            "index0" => int(index),
            "revindex" => int(count - index),
            "revindex0" => int(count - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == count),
            "length" => int(count),
            "depth" => int(state.depth + 1),
            "depth0" => int(state.depth),
            "previtem" => neighbour(index.checked_sub(1)),
            "nextitem" => neighbour(Some(index + 1)),
            _ => return Ok(None),
        }))
    }

    fn loop_method(&mut self, at: usize, name: &str, args: CallArgs) -> Result<Value> {
        let Some(state) = self.loops.get_mut(at) else {
            return Err(Error::type_error("this loop has ended"));
        };
        let values = args.positional;
        if name == "cycle" {
            if values.is_empty() {
                return Err(Error::type_error("no items for cycling given"));
            }
            return Ok(values[state.index % values.len()].clone());
        }
        if let Some(last) = &state.changed
            && last.len() == values.len()
        {
            let mut same = true;
            for (last, value) in last.iter().zip(&values) {
                same = same && last.equals(value, &mut self.budget)?;
            }
            if same {
                return Ok(Value::Bool(false));
            }
        }
        state.changed = Some(values);
        Ok(Value::Bool(true))
    }

    pub(super) fn args(&mut self, args: &'t Args) -> Result<CallArgs> {
        let mut positional = self.eval_all(&args.positional)?;
        if let Some(star) = &args.star {
            let star = self.eval(star)?;
            positional.extend(ops::spread(&star, &mut self.budget)?);
        }
        self.budget.elements(args.named.len())?;
        let mut named = Vec::with_capacity(args.named.len());
        for (name, value) in &args.named {
            named.push((Arc::clone(name), self.eval(value)?));
        }
        if let Some(double_star) = &args.double_star {
            let double_star = self.eval(double_star)?;
            named.extend(ops::spread_named(&double_star, &mut self.budget)?);
        }
        Ok(CallArgs { positional, named })
    }

    pub(super) fn call(&mut self, callee: &Value, args: CallArgs) -> Result<Value> {
        match callee {
            Value::Undefined(missing) => Err(missing.error()),
            Value::Macro(at) => self.descend(|interpreter| interpreter.call_macro(*at, args)),
            Value::Method(method) => self.call_method(method, args),
            Value::Function(function) => self.call_function(*function, args),
            Value::Loop(at) => {
                let [iterable] = args.bind("loop", ["iterable"])?;
                let iterable = iterable.unwrap_or(Value::Undefined(Missing::Nothing));
                self.descend(|interpreter| interpreter.recurse_loop(*at, &iterable))
            }
            _ => Err(Error::type_error(format!(
                "'{}' object is not callable",
                callee.type_name()
            ))),
        }
    }

    fn call_method(&mut self, method: &Rc<Method>, args: CallArgs) -> Result<Value> {
        match method.receiver {
            Value::Loop(at) => self.loop_method(at, &method.name, args),
            _ => methods::call(method, args, &mut self.budget),
        }
    }

    fn call_function(&mut self, function: Function, args: CallArgs) -> Result<Value> {
        match function {
            Function::Range => range(args),
            Function::Dict => filters::dict_of(args, self),
            Function::Namespace => {
                let dict = filters::dict_of(args, self)?;
                let mut names = IndexMap::new();
                for (name, value) in ops::spread_named(&dict, &mut self.budget)? {
                    names.insert(name, value);
                }
                self.budget.elements(1)?;
                self.namespaces.push(names);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            Function::RaiseException => {
                let [message] = args.bind("raise_exception", ["message"])?;
                let message = message.unwrap_or(Value::None);
                Err(Error::raised(&*text::to_str(&message, &mut self.budget)?))
            }
            Function::StrftimeNow => {
                let [format] = args.bind("strftime_now", ["format"])?;
                let format = args::string("strftime_now", format.as_ref())?;
                // The longest directive, `%c`, writes 24 characters for two.
                self.budget.bytes(format.len().saturating_mul(12))?;
                Ok(Value::str(self.now.format(&format)))
            }
        }
    }

    /// Applies `filter`; `block` is the value for a chain that has none.
    fn filter(&mut self, filter: &'t Filter, block: Option<Value>) -> Result<Value> {
        let value = match (&filter.value, block) {
            (Some(Expr::Filter(inner)), Some(block)) => {
                self.descend(|interpreter| interpreter.filter(inner, Some(block)))?
            }
            (Some(value), _) if is_default(&filter.name) => self.eval_maybe(value)?,
            (Some(value), _) => self.eval(value)?,
            (None, Some(block)) => block,
            (None, None) => return Err(Error::type_error("a filter without a value")),
        };
        let args = self.args(&filter.args)?;
        filters::apply(self, &filter.name, value, args)
    }

    /// The text of a block, through the filters of its tag if it has any.
    pub(super) fn filtered(&mut self, filters: Option<&'t Expr>, text: Value) -> Result<Value> {
        match filters {
            Some(Expr::Filter(filter)) => self.filter(filter, Some(text)),
            _ => Ok(text),
        }
    }

    /// A filter called by another filter.
    pub(crate) fn nested_filter(
        &mut self,
        name: &str,
        value: Value,
        args: CallArgs,
    ) -> Result<Value> {
        self.budget.steps(1)?;
        self.descend(|interpreter| filters::apply(interpreter, name, value, args))
    }

    /// A test called by a filter.
    pub(crate) fn test(&mut self, name: &str, value: &Value, args: &[Value]) -> Result<bool> {
        predicates::check(name, value, args, &mut self.budget)
    }

    fn eval_test(&mut self, test: &'t Test) -> Result<Value> {
        let value = if asks_if_defined(&test.name) {
            self.eval_maybe(&test.value)?
        } else {
            self.eval(&test.value)?
        };
        let args = self.args(&test.args)?;
        if !args.named.is_empty() {
            return Err(Error::type_error(format!(
                "test '{}' takes no named arguments",
                test.name
            )));
        }
        let holds = self.test(&test.name, &value, &args.positional)?;
        Ok(Value::Bool(holds != test.negated))
    }
}

fn range(args: CallArgs) -> Result<Value> {
    let count = args.positional.len();
    let [first, second, step] = args.bind("range", ["start", "stop", "step"])?;
    let bound = |value: Option<Value>, default: i128| match value {
        Some(value) => args::integer("range", &value),
        None => Ok(default),
    };
    let range = Range {
        start: if count == 1 {
            0
        } else {
            bound(first.clone(), 0)?
        },
        stop: bound(if count == 1 { first } else { second }, 0)?,
        step: bound(step, 1)?,
    };
    if range.step == 0 {
        return Err(Error::type_error("range() step must not be zero"));
    }
    if count == 0 {
        return Err(Error::type_error("range() misses an argument"));
    }
    if range.len() > MAX_RANGE {
        return Err(Error::limit(format!(
            "range of {} elements is larger than {MAX_RANGE}",
            range.len()
        )));
    }
    Ok(Value::Range(range))
}

/// Whether a filter is for values that may be undefined.
fn is_default(filter: &str) -> bool {
    matches!(filter, "default" | "d")
}

/// Whether a test is for values that may be undefined.
fn asks_if_defined(test: &str) -> bool {
    matches!(test, "defined" | "undefined")
}
