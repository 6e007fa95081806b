//! Runs a parsed template: statements, scopes, macros and loops.
//!
//! Expressions are in `expression.rs`. All state of a render is in one
//! [`Interpreter`]; nothing outlives it. Scopes are numbered frames on a stack,
//! and macros, namespaces and loops are referred to by number as well, so that
//! no cycle of references can form. Recursion (of templates into macros and of
//! the interpreter into the tree) is bounded by one depth counter.
//!
//! Source: jinja2 `compiler.py` and `runtime.py`.

mod expression;

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::args::CallArgs;
use super::ast::{Expr, For, Macro, Stmt, StmtKind, Target};
use super::budget::Budget;
use super::error::{Error, Result};
use super::ops;
use super::strftime::DateTime;
use super::text;
use super::value::{Missing, Value};

/// Deepest recursion of the interpreter. A level takes up to about 2 KiB of
/// stack in unoptimised builds, and threads may have only 2 MiB.
const MAX_DEPTH: usize = 300;

/// What a statement asks the loop around it to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One scope: the names assigned in it, and the scope around it.
#[derive(Default)]
struct Frame {
    names: Vec<(Arc<str>, Value)>,
    parent: Option<usize>,
    /// A macro was defined here and may still read the names.
    captured: bool,
}

#[derive(Clone, Copy)]
struct Closure<'t> {
    definition: &'t Macro,
    frame: usize,
}

struct LoopState<'t> {
    items: Rc<Vec<Value>>,
    index: usize,
    depth: usize,
    /// The arguments of the last `loop.changed(..)`.
    changed: Option<Vec<Value>>,
    /// For `loop(..)` in a recursive loop.
    definition: &'t For,
    frame: usize,
}

/// One render in progress.
pub(crate) struct Interpreter<'t> {
    pub(crate) budget: Budget,
    frames: Vec<Frame>,
    current: usize,
    namespaces: Vec<IndexMap<Arc<str>, Value>>,
    macros: Vec<Closure<'t>>,
    loops: Vec<LoopState<'t>>,
    /// What has been written; blocks that capture swap it out.
    out: String,
    depth: usize,
    now: DateTime,
    undefined: OnUndefined,
}

/// What becomes of a name, attribute or element that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnUndefined {
    /// It prints as nothing, and fails where something is asked of it: jinja2's own
    /// way, which chat templates are written for.
    Pass,
    /// It fails, unless it is only asked whether it is defined, or has a `default`;
    /// and `none` prints as nothing. jinja2's `StrictUndefined`, and a `finalize`.
    Fail,
}

/// Renders `body` with `variables` as its globals.
pub(crate) fn render(
    body: &[Stmt],
    variables: Vec<(Arc<str>, Value)>,
    now: DateTime,
    budget: Budget,
    undefined: OnUndefined,
) -> Result<String> {
    let globals = Frame {
        names: variables,
        ..Frame::default()
    };
    let mut interpreter = Interpreter {
        budget,
        frames: vec![globals],
        current: 0,
        namespaces: Vec::new(),
        macros: Vec::new(),
        loops: Vec::new(),
        out: String::new(),
        depth: 0,
        now,
        undefined,
    };
    interpreter.scoped(|interpreter| interpreter.statements(body))?;
    Ok(interpreter.out)
}

impl<'t> Interpreter<'t> {
    fn descend<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::limit(format!(
                "template recurses deeper than {MAX_DEPTH} levels"
            )));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// Runs `run` in a new scope inside the current one.
    fn scoped<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scoped_in(self.current, run)
    }

    /// Runs `run` in a new scope inside the scope `parent`.
    fn scoped_in<T>(
        &mut self,
        parent: usize,
        run: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.budget.steps(4)?;
        let outer = self.current;
        self.current = self.frames.len();
        self.frames.push(Frame {
            parent: Some(parent),
            ..Frame::default()
        });
        let result = run(self);
        // Frames below a captured one stay as well: they are its parents.
        if self.current + 1 == self.frames.len() && !self.frames[self.current].captured {
            self.frames.pop();
        }
        self.current = outer;
        result
    }

    /// Collects what `run` writes instead of writing it.
    fn captured(&mut self, run: impl FnOnce(&mut Self) -> Result<()>) -> Result<String> {
        let outer = std::mem::take(&mut self.out);
        let result = run(self);
        let inner = std::mem::replace(&mut self.out, outer);
        result.map(|()| inner)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.budget.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn lookup(&mut self, name: &str) -> Result<Option<Value>> {
        let mut frame = Some(self.current);
        while let Some(at) = frame {
            let names = &self.frames[at].names;
            self.budget.steps(1 + names.len() / 8)?;
            if let Some((_, value)) = names.iter().find(|(known, _)| **known == *name) {
                return Ok(Some(value.clone()));
            }
            frame = self.frames[at].parent;
        }
        Ok(None)
    }

    fn assign_name(&mut self, name: &Arc<str>, value: Value) -> Result<()> {
        let names = &mut self.frames[self.current].names;
        self.budget.steps(1 + names.len() / 8)?;
        match names.iter_mut().find(|(known, _)| known == name) {
            Some((_, slot)) => *slot = value,
            // Frames hold no more names than the template has, and go away.
            None => names.push((Arc::clone(name), value)),
        }
        Ok(())
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.assign_name(name, value),
            Target::Attr(namespace, attribute) => {
                let Some(Value::Namespace(at)) = self.lookup(namespace)? else {
                    return Err(Error::type_error(format!(
                        "cannot assign to an attribute of '{namespace}', which is no namespace"
                    )));
                };
                self.budget.elements(1)?;
                self.namespaces[at].insert(Arc::clone(attribute), value);
                Ok(())
            }
            Target::Tuple(targets) => {
                let values = ops::iterate(&value, &mut self.budget)?;
                if values.len() != targets.len() {
                    return Err(Error::type_error(format!(
                        "cannot unpack {} values into {}",
                        values.len(),
                        targets.len()
                    )));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
                Ok(())
            }
        }
    }

    fn statements(&mut self, body: &'t [Stmt]) -> Result<Flow> {
        for statement in body {
            self.budget.steps(1)?;
            let flow = self
                .descend(|interpreter| interpreter.statement(statement))
                .map_err(|error| error.at(statement.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &'t Stmt) -> Result<Flow> {
        match &statement.kind {
            StmtKind::Data(text) => self.write(text)?,
            StmtKind::Emit(value) => {
                let value = self.eval(value)?;
                if self.undefined == OnUndefined::Fail && matches!(value, Value::None) {
                    return Ok(Flow::Next);
                }
                let mut out = std::mem::take(&mut self.out);
                let result = text::write_str(&value, &mut out, &mut self.budget);
                self.out = out;
                result?;
            }
            StmtKind::If(branches) => {
                for (condition, body) in branches {
                    let taken = match condition {
                        Some(condition) => self.eval(condition)?.is_true(),
                        None => true,
                    };
                    if taken {
                        return self.statements(body);
                    }
                }
            }
            StmtKind::For(definition) => self.for_loop(definition)?,
            StmtKind::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            StmtKind::SetBlock(target, filters, body) => {
                let text = self.capture_block(body)?;
                let value = self.filtered(filters.as_ref(), text)?;
                self.assign(target, value)?;
            }
            StmtKind::FilterBlock(filters, body) => {
                let text = self.capture_block(body)?;
                let value = self.filtered(Some(filters), text)?;
                let text = text::to_str(&value, &mut self.budget)?;
                self.write(&text)?;
            }
            StmtKind::With(assignments, body) => {
                let mut values = Vec::with_capacity(assignments.len());
                for (_, value) in assignments {
                    values.push(self.eval(value)?);
                }
                return self.scoped(|interpreter| {
                    for ((target, _), value) in assignments.iter().zip(values) {
                        interpreter.assign(target, value)?;
                    }
                    interpreter.statements(body)
                });
            }
            StmtKind::Scope(body) => {
                return self.scoped(|interpreter| interpreter.statements(body));
            }
            StmtKind::Macro(definition) => {
                let value = self.define_macro(definition)?;
                self.assign_name(&definition.name, value)?;
            }
            StmtKind::Call(caller, call) => self.call_block(caller, call)?,
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn capture_block(&mut self, body: &'t [Stmt]) -> Result<Value> {
        let text = self.captured(|interpreter| {
            interpreter.scoped(|interpreter| interpreter.statements(body))?;
            Ok(())
        })?;
        Ok(Value::str(text))
    }

    fn define_macro(&mut self, definition: &'t Macro) -> Result<Value> {
        // The frame stays for as long as the render: pay for it and its parent.
        self.budget
            .elements(8 + 2 * self.frames[self.current].names.len())?;
        self.frames[self.current].captured = true;
        self.macros.push(Closure {
            definition,
            frame: self.current,
        });
        Ok(Value::Macro(self.macros.len() - 1))
    }

    fn call_block(&mut self, caller: &'t Macro, call: &'t Expr) -> Result<()> {
        let Expr::Call(call) = call else {
            return Err(Error::type_error("a call block needs a call"));
        };
        let caller = self.define_macro(caller)?;
        let callee = self.eval(&call.0)?;
        let mut args = self.args(&call.1)?;
        args.named.push(("caller".into(), caller));
        let value = self.call(&callee, args)?;
        let text = text::to_str(&value, &mut self.budget)?;
        self.write(&text)
    }

    /// Calls the macro numbered `at`; what it writes is its value.
    fn call_macro(&mut self, at: usize, args: CallArgs) -> Result<Value> {
        let Some(closure) = self.macros.get(at).copied() else {
            return Err(Error::type_error("this macro no longer exists"));
        };
        let definition = closure.definition;
        let params = &definition.params;
        let mut bound: Vec<Option<Value>> = vec![None; params.len()];
        if args.positional.len() > params.len() {
            return Err(Error::type_error(format!(
                "macro '{}' takes at most {} arguments, {} given",
                definition.name,
                params.len(),
                args.positional.len()
            )));
        }
        for (slot, value) in bound.iter_mut().zip(args.positional) {
            *slot = Some(value);
        }
        let mut caller = None;
        for (name, value) in args.named {
            if let Some(slot) = params.iter().position(|(param, _)| *param == name) {
                if bound[slot].replace(value).is_some() {
                    return Err(Error::type_error(format!(
                        "macro '{}' got parameter '{name}' twice",
                        definition.name
                    )));
                }
            } else if &*name == "caller" {
                caller = Some(value);
            } else {
                return Err(Error::type_error(format!(
                    "macro '{}' has no parameter '{name}'",
                    definition.name
                )));
            }
        }
        let text = self.captured(|interpreter| {
            interpreter.scoped_in(closure.frame, |interpreter| {
                if let Some(caller) = caller {
                    interpreter.assign_name(&"caller".into(), caller)?;
                }
                for ((name, default), given) in params.iter().zip(bound) {
                    let value = match (given, default) {
                        (Some(value), _) => value,
                        (None, Some(default)) => interpreter.eval(default)?,
                        (None, None) => Value::Undefined(Missing::Name(Arc::clone(name))),
                    };
                    interpreter.assign_name(name, value)?;
                }
                interpreter.statements(&definition.body)?;
                Ok(())
            })
        })?;
        Ok(Value::str(text))
    }

    fn for_loop(&mut self, definition: &'t For) -> Result<()> {
        let iterable = self.eval(&definition.iterable)?;
        self.run_loop(definition, &iterable, 0)
    }

    /// `loop(iterable)` inside a recursive loop.
    fn recurse_loop(&mut self, at: usize, iterable: &Value) -> Result<Value> {
        let Some(state) = self.loops.get(at) else {
            return Err(Error::type_error("this loop has ended"));
        };
        let (definition, depth, frame) = (state.definition, state.depth, state.frame);
        if !definition.recursive {
            return Err(Error::type_error(
                "the loop must be marked 'recursive' to be called",
            ));
        }
        let outer = std::mem::replace(&mut self.current, frame);
        let text =
            self.captured(|interpreter| interpreter.run_loop(definition, iterable, depth + 1));
        self.current = outer;
        Ok(Value::str(text?))
    }

    fn run_loop(&mut self, definition: &'t For, iterable: &Value, depth: usize) -> Result<()> {
        let mut items = ops::iterate(iterable, &mut self.budget)?;
        if let Some(condition) = &definition.condition {
            let mut kept = Vec::new();
            for item in items {
                let keeps = self.scoped(|interpreter| {
                    interpreter.assign(&definition.target, item.clone())?;
                    Ok(interpreter.eval(condition)?.is_true())
                })?;
                if keeps {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            // jinja2 gives the `else` body a scope of its own.
            return self.scoped(|interpreter| {
                interpreter.statements(&definition.otherwise)?;
                Ok(())
            });
        }
        let items = Rc::new(items);
        let at = self.loops.len();
        self.loops.push(LoopState {
            items: Rc::clone(&items),
            index: 0,
            depth,
            changed: None,
            definition,
            frame: self.current,
        });
        let result = self.iterations(definition, &items, at);
        self.loops.truncate(at);
        result
    }

    fn iterations(&mut self, definition: &'t For, items: &[Value], at: usize) -> Result<()> {
        for (index, item) in items.iter().enumerate() {
            self.budget.steps(1)?;
            self.loops[at].index = index;
            let flow = self.scoped(|interpreter| {
                interpreter.assign_name(&"loop".into(), Value::Loop(at))?;
                interpreter.assign(&definition.target, item.clone())?;
                interpreter.statements(&definition.body)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }
}
