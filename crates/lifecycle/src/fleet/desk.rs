//! What one vassal may use while it decides: the moment, the policy, numbers to give out, and a place for actions.
//! Knows nothing of other vassals.

use super::words::{Action, Cause, OperationEnd, Policy, Verb};
use crate::{
    ids::{MasterSerial, OperationId, VassalName},
    moment::Moment,
};

/// The next numbers of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Numbers {
    /// Of the next operation.
    pub(super) operation: OperationId,
    /// Of the next master.
    pub(super) serial: MasterSerial,
}

impl Numbers {
    /// Takes the next number for an operation.
    pub(super) fn next_operation(&mut self) -> OperationId {
        let operation = self.operation;
        self.operation = operation.next();
        operation
    }

    /// Takes the next number for a master.
    pub(super) fn next_serial(&mut self) -> MasterSerial {
        let serial = self.serial;
        self.serial = serial.next();
        serial
    }
}

/// See the module.
pub(super) struct Desk<'a> {
    /// When the event came.
    pub(super) now: Moment,
    /// Deadlines and rates.
    pub(super) policy: &'a Policy,
    /// Numbers to give out.
    pub(super) numbers: &'a mut Numbers,
    /// What is to be done.
    pub(super) out: &'a mut Vec<Action>,
}

impl Desk<'_> {
    /// Begins an operation of the machine's own.
    pub(super) fn begin(&mut self, name: &VassalName, verb: Verb, cause: Cause) -> OperationId {
        let operation = self.numbers.next_operation();
        self.begin_as(operation, name, verb, cause);
        operation
    }

    /// Begins an operation that has its number already.
    pub(super) fn begin_as(&mut self, operation: OperationId, name: &VassalName, verb: Verb, cause: Cause) {
        self.out.push(Action::Begin { operation, name: name.clone(), verb, cause });
    }

    /// Ends an operation, if there is one.
    pub(super) fn end(&mut self, operation: Option<OperationId>, end: OperationEnd) {
        if let Some(operation) = operation {
            self.out.push(Action::End { operation, end });
        }
    }

    /// Ends an operation, if there is one, because another takes its place.
    pub(super) fn superseded(&mut self, operation: Option<OperationId>) {
        self.end(operation, OperationEnd::Superseded);
    }
}
