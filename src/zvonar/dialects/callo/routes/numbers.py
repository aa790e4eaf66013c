"""Where is a number at home? `def_codes/by_phone/`, without a key."""

from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.core import phone as phones
from zvonar.core.errors import DestinationRefused, PhoneInvalid
from zvonar.core.plan import home_of
from zvonar.dialects.callo import errors
from zvonar.dialects.callo.requests.steering import phone_form
from zvonar.dialects.callo.routes.common import Req, Service, opened
from zvonar.reports import regions

_COUNTRY = "RU"  # whose national forms are understood: nobody says whose number it is


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests about numbers themselves."""

    @route("/def_codes/by_phone", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def by_phone(request: Req) -> Response[dict[str, Any]]:
        """What the numbering plan says; null where nobody whom we know does."""
        language, form = await opened(request)
        written = phone_form(form)
        try:
            phone = phones.parse(written, country=_COUNTRY, trial=False)
        except (PhoneInvalid, DestinationRefused):
            raise errors.FormInvalid({"phone": errors.BAD_PHONE}) from None
        home = home_of(phone.e164, language=language, at=service.now())
        await regions.prepare()
        region = regions.region_of(phone.e164.removeprefix("+"))
        data = {
            "first_code": home.code,
            # Blocks and network codes are in no data that we have.
            "from_code": None,
            "to_code": None,
            "block_size": None,
            "operator": home.operator,
            "region": None if region is None else f"{region.id:02}",
            "region_name": None if region is None else region.name,
            "timezone": home.timezone,
            "phone_type": home.kind,
            "GMT": home.offset,
            "MNC": None,
        }
        return Response({"status": "ok", "data": data}, headers=errors.headers(language))

    return [by_phone]
