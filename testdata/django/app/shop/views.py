import os

import company_auth
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django_company.greeting import greeting

from shop.models import Product


def index(request):
    return render(
        request,
        "company/page.html",
        {
            "greeting": greeting(),
            "products": Product.objects.order_by("name"),
            "currency": settings.COMPANY_CURRENCY,
            "badge": company_auth.badge("visitor", "shop"),
            "place": f"{os.environ.get('SLIPWAY_APP')}/{os.environ.get('SLIPWAY_ENV')}",
            "release": os.environ.get("SLIPWAY_RELEASE"),
        },
    )


def instance(request):
    """Which start of the server answers; the restart script waits for its own."""
    return HttpResponse(os.environ.get("WEB_INSTANCE", ""), content_type="text/plain")
