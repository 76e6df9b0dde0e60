import hashlib
import hmac


def seal(text, key):
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:12]
