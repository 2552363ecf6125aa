"""Errors that the client can mend."""

from __future__ import annotations

from app.errors.root import MoaError


class CallerError(MoaError):
    """The client can mend it."""

    status = 400
    type = "invalid_request_error"
    kind = "caller_invalid_request"


class InvalidRequest(CallerError):
    """A field is missing, of the wrong type or outside its range; `param` names it."""


class Unauthenticated(CallerError):
    """No key, or one that is not ours."""

    status = 401
    code = "invalid_api_key"
    kind = "caller_unauthenticated"


class Forbidden(CallerError):
    """A known caller who may not do this."""

    status = 403
    type = "permission_error"
    code = "forbidden"
    kind = "policy_forbidden"


class ModelNotFound(CallerError):
    """The name in `model` is no graph, pool or alias of ours."""

    status = 404
    code = "model_not_found"
    kind = "caller_model_not_found"


class RouteNotFound(CallerError):
    """No such address."""

    status = 404
    code = "unknown_url"
    kind = "caller_route_not_found"


class ResponseNotFound(CallerError):
    """No such response is stored for this caller."""

    status = 404
    code = "response_not_found"
    kind = "caller_response_not_found"


class NotRegistered(CallerError):
    """No such key or team."""

    status = 404
    code = "not_registered"
    kind = "caller_not_registered"


class MethodNotAllowed(CallerError):
    """The address exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    kind = "caller_method_not_allowed"


class RequestTimeout(CallerError):
    """The body did not come in time."""

    status = 408
    code = "request_timeout"
    kind = "caller_slow_body"


class NameTaken(CallerError):
    """Another key or team has this name."""

    status = 409
    code = "name_taken"
    kind = "caller_name_taken"


class PayloadTooLarge(CallerError):
    """The body is above the limit."""

    status = 413
    code = "request_too_large"
    kind = "caller_too_large"


class UnsupportedMedia(CallerError):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported_media_type"
    kind = "caller_unsupported_media"


class IdempotencyKeyReused(CallerError):
    """The key of an earlier request, with another body: the client means something else."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"
    kind = "caller_idempotency_key_reused"


class LoopDetected(CallerError):
    """The request passed through too many gateways; most likely this one calls itself."""

    status = 508
    code = "loop_detected"
    kind = "policy_loop"
