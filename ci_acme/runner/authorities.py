"""The CAs of a run: one connection pool, one account and one client for each."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ci_acme.ca.client import AcmeClient
from ci_acme.ca.http import HttpsPool, is_loopback_url
from ci_acme.ca.jws import thumbprint
from ci_acme.ca.keys import LocalSigner, generate_account_key
from ci_acme.ca.renewal import fetch_renewal_info
from ci_acme.config.directories import resolve_directory
from ci_acme.core.renewal import Window
from ci_acme.errors import AccountError, CiAcmeError, SecretError
from ci_acme.model.events import Step, Warned
from ci_acme.model.secret import Secret

if TYPE_CHECKING:
    from ci_acme.config.schema import Authority
    from ci_acme.runner.services import Services
    from ci_acme.state.accounts import Accounts
