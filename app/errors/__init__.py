"""The exception tree. A class carries what the client may learn: HTTP status, OpenAI type and code.

Every message given to a `MoaError` is shown to clients, so it must hold no secret, no address and
no text written by an upstream. What only an operator may read goes into `detail`.

    MoaError
    ├── ConfigError               the start is refused; never reaches a client
    ├── CallerError               the client can mend it
    │   ├── InvalidRequest        400
    │   ├── Unauthenticated       401
    │   ├── Forbidden             403
    │   ├── ModelNotFound         404
    │   ├── RouteNotFound         404
    │   ├── ResponseNotFound      404
    │   ├── NotRegistered         404
    │   ├── MethodNotAllowed      405
    │   ├── RequestTimeout        408
    │   ├── NameTaken             409
    │   ├── PayloadTooLarge       413
    │   ├── UnsupportedMedia      415
    │   ├── IdempotencyKeyReused  422
    │   └── LoopDetected          508
    ├── UpstreamError             one upstream call failed
    │   ├── UpstreamRejected      the upstream's 400, 404, 413 or 422: the request as sent was wrong
    │   ├── UpstreamDenied        502, the upstream refused our credentials
    │   ├── UpstreamRateLimited   429
    │   ├── UpstreamTimeout       504
    │   │   └── UpstreamConnectTimeout
    │   ├── UpstreamBusy          503, as many calls under way and waiting as the operator allows
    │   ├── UpstreamCircuitOpen   503, not asked because it failed too often
    │   ├── UpstreamUnavailable   502, no connection, reset, 5xx
    │   ├── UpstreamMalformed     502, an answer that is no answer: garbage, cut stream
    │   └── UpstreamEmpty         502, a whole answer that says nothing
    ├── NodeSkipped               a node had nothing it could do; stays inside the engine
    ├── GraphFailed               a whole graph came to nothing; status from its causes
    ├── DeadlineExceeded          504, the request's own deadline
    ├── CapReached                429, the request's own cap on money or calls
    ├── RateLimited               429, a key's or team's own limit
    ├── BudgetReached             429, what a key or team may spend is spent or reserved
    ├── Overloaded                503
    ├── StoreUnavailable          503, the database that money is booked in does not answer
    └── InternalError             500
"""

from __future__ import annotations

from app.errors.caller import (
    CallerError,
    Forbidden,
    IdempotencyKeyReused,
    InvalidRequest,
    LoopDetected,
    MethodNotAllowed,
    ModelNotFound,
    NameTaken,
    NotRegistered,
    PayloadTooLarge,
    RequestTimeout,
    ResponseNotFound,
    RouteNotFound,
    Unauthenticated,
    UnsupportedMedia,
)
from app.errors.own import (
    BudgetReached,
    CapReached,
    DeadlineExceeded,
    GraphFailed,
    InternalError,
    NodeFailure,
    NodeSkipped,
    Overloaded,
    RateLimited,
    StoreUnavailable,
)
from app.errors.root import (
    ConfigError,
    MoaError,
)
from app.errors.upstream import (
    UpstreamBusy,
    UpstreamCircuitOpen,
    UpstreamConnectTimeout,
    UpstreamDenied,
    UpstreamEmpty,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)

__all__ = [
    "BudgetReached",
    "CallerError",
    "CapReached",
    "ConfigError",
    "DeadlineExceeded",
    "Forbidden",
    "GraphFailed",
    "IdempotencyKeyReused",
    "InternalError",
    "InvalidRequest",
    "LoopDetected",
    "MethodNotAllowed",
    "MoaError",
    "ModelNotFound",
    "NameTaken",
    "NodeFailure",
    "NodeSkipped",
    "NotRegistered",
    "Overloaded",
    "PayloadTooLarge",
    "RateLimited",
    "RequestTimeout",
    "ResponseNotFound",
    "RouteNotFound",
    "StoreUnavailable",
    "Unauthenticated",
    "UnsupportedMedia",
    "UpstreamBusy",
    "UpstreamCircuitOpen",
    "UpstreamConnectTimeout",
    "UpstreamDenied",
    "UpstreamEmpty",
    "UpstreamError",
    "UpstreamMalformed",
    "UpstreamRateLimited",
    "UpstreamRejected",
    "UpstreamTimeout",
    "UpstreamUnavailable",
]
