"""Seconds, memory and price of a GPU that you don't own."""

from labs.forecast.machine import measure_machine
from labs.forecast.memory import Forecast, forecast_memory, what_fits
from labs.forecast.price import what_will_it_take
from labs.forecast.published import is_this_normal
from labs.forecast.seconds import forecast_seconds

__all__ = [
    "Forecast",
    "forecast_memory",
    "forecast_seconds",
    "is_this_normal",
    "measure_machine",
    "what_fits",
    "what_will_it_take",
]
